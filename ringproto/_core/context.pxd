# C types of context.py.
from ringproto._core.barrier cimport Barrier
from ringproto._core.counters cimport Counters
from ringproto._core.packets.delivery cimport Delivery
from ringproto._core.packets.packing cimport Outbox
from ringproto._core.timers cimport Timers
from ringproto._core.wire.regular cimport Codec


cdef class Context:
    cdef readonly object node
    cdef readonly object config
    cdef readonly Py_ssize_t datagram_size
    cdef readonly object entropy
    cdef public double now
    cdef readonly list audit
    cdef readonly object origin
    cdef readonly Py_ssize_t requests_max
    cdef readonly object incarnation
    cdef public object ring_sequence
    cdef readonly Codec codec
    cdef readonly object membership_codec
    cdef readonly Counters counters
    cdef readonly object notices
    cdef readonly Timers timers
    cdef public list transmits
    cdef public bint leaving
    cdef public bint drains
    cdef readonly Barrier barrier
    cdef readonly Outbox outbox
    cdef readonly Delivery delivery

    cpdef transmit(self, object destination, bytes datagram, str count)
    cpdef acknowledge(self, object destination, bytes ring, int what, int copy, number)
    cpdef bint is_busy(self) except -1
    cpdef bint is_drained(self) except -1

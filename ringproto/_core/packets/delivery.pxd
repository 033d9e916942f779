# C types of delivery.py.
import cython

from ringproto._core.barrier cimport Barrier
from ringproto._core.packets.reassembly cimport Reassembler
from ringproto._core.packets.window cimport Window
from ringproto._core.wire.regular cimport Packet
from ringproto.message cimport Message, new_message

cdef int _CONTROL, _MEANING, _PRIORITY, _SAFE
cdef list _MEANINGS


cdef class Delivery:
    cdef object _audit
    cdef Barrier _barrier
    cdef list _changes
    cdef long long _emitted
    cdef object _events  # a deque
    cdef Py_ssize_t _events_bytes_max
    cdef Py_ssize_t _events_max
    cdef long long _last_completion
    cdef long long _last_message
    cdef bint _transitional
    cdef readonly Py_ssize_t bytes
    cdef readonly object configuration
    cdef public long long delivered
    cdef readonly long long held
    cdef readonly long long messages
    cdef readonly Reassembler reassembler

    cdef bint _is_settling(self) except -1
    cdef _add(self, list messages, Py_ssize_t size)
    @cython.locals(message=Message, taken=list)
    cpdef list take(self, Py_ssize_t limit)
    cpdef bint is_full(self)
    cpdef Py_ssize_t count(self) except -1
    cpdef list take_changes(self)

    @cython.locals(seq="long long", last="long long", packet=Packet, progress=bint)
    cpdef bint deliver(self, Window window, object ring_id, long long stable)

    # The first message of a forged packet may have the number 2**63, and thousands may follow it.
    @cython.locals(
        reassembler=Reassembler, seq="unsigned long long", sender=object, payload=bytes, size=Py_ssize_t, messages=list, message=Message,
        meaning=tuple, flags=int, settling=bint, settled=bint,
    )
    cdef _deliver_packet(self, Packet packet, object ring_id)

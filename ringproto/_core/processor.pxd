# C types of processor.py.
import cython

from ringproto._core.context cimport Context
from ringproto._core.membership.membership cimport Membership
from ringproto._core.packets.send_queue cimport SendQueue
from ringproto._core.wire.regular cimport Codec

cdef int _IS_DATA, _IS_TOKEN
cdef Py_ssize_t _REQUESTS_MAX


cdef class Batch:
    cdef readonly Py_ssize_t largest
    cdef readonly tuple payloads


cdef class Ready:
    cdef readonly list transmits
    cdef readonly bint unfinished
    cdef readonly list changes
    cdef readonly list notices
    cdef readonly Py_ssize_t events
    cdef readonly bint left
    cdef readonly double next_timeout


cdef class Processor:
    cdef readonly object node
    cdef readonly object config
    cdef object _audit
    cdef Context _context
    cdef Membership _membership
    cdef Py_ssize_t _message_size_max
    cdef double _least_resend_s
    cdef double _retransmit_s

    @cython.locals(context=Context, membership=Membership, ready=Ready)
    cpdef Ready turn(self, object datagrams, double now)

    @cython.locals(context=Context, membership=Membership, codec=Codec, tokens=list, kind=int, data_came=bint)
    cdef _take_in(self, object datagrams)

    cpdef submit(self, object payload, object priority, object guarantee)

    @cython.locals(queue=SendQueue, place=Py_ssize_t, payloads=tuple, payload=bytes)
    cpdef Py_ssize_t submit_batch(self, Batch batch, Py_ssize_t first, object priority, object guarantee) except -1

    @cython.locals(context=Context)
    cdef _accept(self, object payload, object priority, object guarantee)
    cpdef check_payload(self, object payload)
    cpdef check_batch(self, Batch batch)
    cdef int _check(self, object payload) except -1

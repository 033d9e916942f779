# C types of processor.py.
import cython

from ringproto._core.membership cimport Membership
from ringproto._core.send_queue cimport SendQueue
from ringproto._core.wire cimport Codec

cdef int _IS_DATA, _IS_TOKEN
cdef Py_ssize_t _REQUESTS_MAX


cdef class Batch:
    cdef readonly Py_ssize_t largest
    cdef readonly tuple payloads


cdef class Processor:
    cdef readonly object node
    cdef readonly object config
    cdef object _audit
    cdef Codec _codec
    cdef Membership _membership
    cdef Py_ssize_t _message_size_max

    @cython.locals(membership=Membership, codec=Codec, tokens=list, kind=int, data_came=bint)
    cpdef handle_datagrams(self, object datagrams, double now)

    @cython.locals(membership=Membership)
    cpdef handle_timeout(self, double now)

    cpdef list turn(self, object datagrams, double now)
    cpdef list take_transmits(self)
    cpdef submit(self, object payload, object priority, object guarantee)

    @cython.locals(queue=SendQueue, place=Py_ssize_t, payloads=tuple, payload=bytes)
    cpdef Py_ssize_t submit_batch(self, Batch batch, Py_ssize_t first, object priority, object guarantee) except -1

    @cython.locals(membership=Membership)
    cdef _accept(self, object payload, object priority, object guarantee)
    cpdef check_payload(self, object payload)
    cpdef check_batch(self, Batch batch)
    cdef int _check(self, object payload) except -1

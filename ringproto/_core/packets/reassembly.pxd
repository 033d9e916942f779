# C types of reassembly.py.
import cython

from ringproto._core.wire.regular cimport Packet

cdef Py_ssize_t _HEAD, _TRAILER, _VIEW
cdef int _PRIORITY, _CONTROL, _LAST, _WHOLE


cdef class _PartialMessage:
    cdef readonly list pieces
    cdef public Py_ssize_t size


cdef class Reassembler:
    cdef Py_ssize_t _at
    cdef bytes _datagram
    cdef tuple _ended
    cdef dict _partial
    cdef Py_ssize_t _place
    cdef long long _sender
    cdef Py_ssize_t _size_max
    cdef readonly Py_ssize_t dropped
    cdef readonly int flags
    cdef readonly bytes payload

    cpdef begin(self, Packet packet)

    @cython.locals(
        data="const unsigned char *", at=Py_ssize_t, end=Py_ssize_t, flags=int, size=Py_ssize_t, key="long long"
    )
    cpdef bint next(self) except -1

    cdef bint _leave(self) except -1

    @cython.locals(place=Py_ssize_t)
    cdef bint _next_own(self, list flags, list payloads) except -1

    @cython.locals(partial=_PartialMessage)
    cdef _piece(self, object key, int flags, object piece)

    @cython.locals(partial=_PartialMessage)
    cdef bytes _finish(self, object key)

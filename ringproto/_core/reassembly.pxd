# C types of reassembly.py.
import cython

from ringproto._core.wire cimport Packet


cdef class _Partial:
    cdef readonly list pieces
    cdef public Py_ssize_t size


cdef class Reassembler:
    cdef dict _partial
    cdef Py_ssize_t _size_max
    cdef readonly Py_ssize_t dropped

    @cython.locals(
        ended=list, datagram=bytes, data="const unsigned char *", at=Py_ssize_t, end=Py_ssize_t, flags=int, size=Py_ssize_t, size_max=Py_ssize_t,
        head=Py_ssize_t, last=int, whole=int, control=int, view_min=Py_ssize_t, key="unsigned long long"
    )
    cpdef list take_apart(self, Packet packet)

    @cython.locals(partial=_Partial)
    cdef _piece(self, object key, int flags, object piece)

    @cython.locals(partial=_Partial)
    cdef bytes _finish(self, object key)

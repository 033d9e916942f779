# C types of _segments.py: what is done for every segment must not make objects.
import cython

cdef Py_ssize_t _HEADER
cdef int _NUMBERS


cdef class Cutter:
    cdef readonly Py_ssize_t size
    cdef int _number

    @cython.locals(
        piece=Py_ssize_t, size=Py_ssize_t, count=Py_ssize_t, rest=Py_ssize_t, place=Py_ssize_t, number=int, high=int, low=int, last=bytes,
        segments=list
    )
    cpdef list cut(self, bytes datagram)


cdef class _Partial:
    cdef public int number
    cdef public list pieces
    cdef public Py_ssize_t missing
    cdef public Py_ssize_t size


cdef class Joiner:
    cdef Py_ssize_t _size_max
    cdef Py_ssize_t _senders_max
    cdef object _counts
    cdef dict _partials
    cdef readonly Py_ssize_t oversized

    @cython.locals(datagram=bytes, joined=bytes, mark=int, size_max=Py_ssize_t, first=Py_ssize_t, place=Py_ssize_t, whole=list)
    cpdef list join(self, list origins, list datagrams)

    @cython.locals(
        partial=_Partial, pieces=list, room=Py_ssize_t, place=Py_ssize_t, count=Py_ssize_t, number=int, size=Py_ssize_t
    )
    cdef bytes _take(self, bytes origin, bytes segment)

    @cython.locals(partial=_Partial)
    cdef _forget(self, bytes origin)

    cdef bytes _drop(self, object count)

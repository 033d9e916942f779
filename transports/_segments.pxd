# C types of _segments.py: the work for each segment must not create objects.
import cython

# Not `from ... cimport _room as room`: Cython would not see that the build depends on that module.
cimport ringproto.transports._room as room

cdef Py_ssize_t _HEADER
cdef int _NUMBERS
cdef int _MARK
cdef int _KIND_MIN
cdef int _KIND_MAX


cdef class Cutter:
    cdef readonly Py_ssize_t size
    cdef int _number

    @cython.locals(piece=Py_ssize_t, size=Py_ssize_t, count=Py_ssize_t, place=Py_ssize_t, number=int, heads=list)
    cpdef list cut(self, bytes datagram, Py_ssize_t size_max=*)


cdef class _PartialDatagram:
    cdef int number
    cdef Py_ssize_t count
    cdef Py_ssize_t missing
    cdef Py_ssize_t piece
    cdef Py_ssize_t rest
    cdef bytes room
    cdef bytes tail
    cdef bytearray seen

    @cython.locals(place=Py_ssize_t)
    cdef begin(self, int number, Py_ssize_t count)

    @cython.locals(joined=bytes)
    cdef bytes finish(self)


cdef class Joiner:
    cdef Py_ssize_t _size_max
    cdef Py_ssize_t _senders_max
    cdef object _counts
    cdef dict _partials
    cdef readonly Py_ssize_t oversized
    cdef public list notices

    cpdef add(self, bytes origin, bytes datagram, list whole)

    @cython.locals(joined=bytes)
    cdef take(self, bytes origin, const unsigned char *data, Py_ssize_t size, list whole)

    @cython.locals(
        partial=_PartialDatagram, space=Py_ssize_t, place=Py_ssize_t, count=Py_ssize_t, number=int, length=Py_ssize_t,
        before=Py_ssize_t, last=bint, fits=bint
    )
    cdef bytes _join(self, bytes origin, const unsigned char *data, Py_ssize_t size)

    @cython.locals(known=bint)
    cdef bytes _take_notice(self, bytes origin, const unsigned char *data, Py_ssize_t size)

    @cython.locals(before=Py_ssize_t, rest=Py_ssize_t)
    cdef bint _put(self, _PartialDatagram partial, Py_ssize_t place, const unsigned char *data, Py_ssize_t length) except -1

    @cython.locals(behind=Py_ssize_t)
    cdef bint _put_last(self, _PartialDatagram partial, const unsigned char *data, Py_ssize_t length) except -1

    @cython.locals(partials=dict)
    cdef _PartialDatagram _begin(self, bytes origin, _PartialDatagram partial, int number, Py_ssize_t count)

    cdef bytes _drop(self, object count)

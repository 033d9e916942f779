# C types of window.py.
import cython

from ringproto._core.wire.regular cimport Packet


cdef class Window:
    cdef list _slots  # a ring buffer: packet number n stands at n & _mask
    cdef long long _mask
    cdef readonly long long aru
    cdef readonly long long capacity
    cdef readonly long long high
    cdef readonly long long released

    @cython.locals(seq="long long", slot="long long", aru="long long")
    cpdef bint insert(self, Packet packet)

    cpdef Packet get(self, long long seq)

    @cython.locals(seq="long long", gaps=list)
    cpdef list missing(self, long long last, long long limit)

    @cython.locals(last="long long", number="long long")
    cpdef bint release(self, long long seq)

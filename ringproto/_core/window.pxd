# C types of window.py.
import cython

from ringproto._core.wire cimport Packet


cdef class Window:
    cdef list _slots  # a ring buffer: packet number n stands at n & _mask
    cdef unsigned long long _mask
    cdef readonly unsigned long long aru
    cdef readonly unsigned long long capacity
    cdef readonly unsigned long long high
    cdef readonly unsigned long long released

    @cython.locals(seq="unsigned long long", slot="unsigned long long", aru="unsigned long long")
    cpdef bint insert(self, Packet packet)

    cpdef Packet get(self, unsigned long long seq)

    @cython.locals(seq="unsigned long long", gaps=list)
    cpdef list missing(self, unsigned long long last, unsigned long long limit)

    @cython.locals(last="unsigned long long", number="unsigned long long")
    cpdef bint release(self, unsigned long long seq)

# C types of timers.py.
import cython

cdef double _OFF


cdef class Timers:
    cdef list _deadlines  # of floats, one for each Timer
    cdef double _earliest  # no deadline is before it
    cdef bint _known  # whether a deadline is exactly that

    @cython.locals(before=double)
    cpdef set(self, int timer, double deadline)

    @cython.locals(before=double)
    cpdef clear(self, int timer)

    cpdef double deadline(self, int timer)
    cpdef bint is_set(self, int timer)
    cpdef double first(self)

    @cython.locals(first=double)
    cpdef pop_due(self, double now)

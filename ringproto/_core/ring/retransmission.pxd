# C types of retransmission.py: a hop of the token goes through it.
import cython

cdef int _COPIES_MAX, _LATE_MAX
cdef double _GAIN, _DEVIATION_GAIN, _DEVIATIONS, _MARGIN


cdef class Retransmission:
    cdef double _deviation_s
    cdef double _first_s
    cdef bint _is_late
    cdef int _late
    cdef double _least_s
    cdef double _longest_s
    cdef double _round_trip_s  # 0: not known
    cdef list _sent_at
    cdef long long _successor
    cdef readonly int copy
    cdef readonly double wait_s

    cpdef begin(self, long long successor, double now, double wait_s)

    @cython.locals(margin_s=double)
    cpdef begin_acknowledged(self, long long successor, double now, double longest_s)

    cpdef arrived(self, double wait_s)

    cpdef repeat(self, double now, double least_s)

    @cython.locals(round_trip_s=double)
    cpdef acknowledged(self, int copy, double now)

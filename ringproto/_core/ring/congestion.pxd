# C types of congestion.py: asked for every packet.
import cython


cdef class Congestion:
    cdef public double now
    cdef double _compared
    cdef double _high_until
    cdef double _light_s
    cdef double _light_sample_s
    cdef double _loss
    cdef double _low
    cdef bint _low_cut
    cdef Py_ssize_t _low_left
    cdef double _low_max
    cdef Py_ssize_t _narrow  # 0: the rotation is not narrow
    cdef long long _narrow_began
    cdef long long _narrow_broadcast
    cdef long long _narrow_new
    cdef Py_ssize_t _narrow_rotations
    cdef long long _narrow_sent
    cdef double _random
    cdef double _random_max
    cdef double _rotation_s
    cdef double _share
    cdef object _target_s
    cdef Py_ssize_t _unit
    cdef double _usual_broadcast
    cdef double _usual_repeated
    cdef double _usual_sent
    cdef Py_ssize_t _visit_max

    cpdef Py_ssize_t share(self)
    cpdef Py_ssize_t low_share(self)
    cpdef bint by_chance(self)
    cpdef note_sent(self, Py_ssize_t packets)
    cdef bint _gives_way(self)
    cpdef Py_ssize_t low_room(self)
    cpdef spent_low(self, Py_ssize_t size)
    cpdef note_high(self)

    @cython.locals(light=bint)
    cpdef begin_visit(self, long long rotation)

    cpdef note_rotation(
        self, long long rotation, double took_s, long long new, long long broadcast, long long behind
    )

    @cython.locals(repeated=double, congestion=double)
    cdef _note_loss(self, long long new, long long broadcast)

    @cython.locals(grows=double)
    cdef _follow(self, double congestion)

    cdef Py_ssize_t _share_min(self)

    @cython.locals(place="long long")
    cdef _compare(self, long long rotation, long long new, long long broadcast, long long behind)

    @cython.locals(usual=double, usual_loss=double, lost=double, by_chance=bint)
    cdef _conclude(self)

    cdef _note_time(self, long long rotation, double took_s, double target_s)

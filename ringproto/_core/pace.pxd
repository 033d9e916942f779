# C types of pace.py: asked for every packet.
import cython


cdef class Pace:
    cdef public double now
    cdef double _high_until
    cdef double _light_s
    cdef double _light_sample_s
    cdef double _loss
    cdef double _low
    cdef bint _low_cut
    cdef Py_ssize_t _low_left
    cdef double _low_max
    cdef double _rotation_s
    cdef double _share
    cdef object _target_s
    cdef Py_ssize_t _unit
    cdef Py_ssize_t _visit_max

    cpdef Py_ssize_t share(self)
    cpdef Py_ssize_t low_share(self)
    cdef bint _gives_way(self)
    cpdef Py_ssize_t low_room(self)
    cpdef took_low(self, Py_ssize_t size)
    cpdef note_high(self)

    @cython.locals(light=bint)
    cpdef begin_visit(self, long long rotation)

    cpdef note_rotation(self, long long rotation, double took_s, long long new, long long broadcast)
    cdef _note_time(self, long long rotation, double took_s, double target_s)

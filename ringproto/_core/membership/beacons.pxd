# C types of beacons.py. The time of the next one is asked for at every visit of the token.
from ringproto._core.context cimport Context


cdef class Beacons:
    cdef readonly double due_at
    cdef Context _context
    cdef object _admission
    cdef object _connectivity
    cdef unsigned long long _count
    cdef object _put_off_at
    cdef bytes _ring
    cdef set _met
    cdef Py_ssize_t _quick
    cdef bint _was_busy

# C types of barrier.py: ``complete`` is asked before every packet and every message.


cdef class Barrier:
    cdef bint _asked
    cdef object _configuration
    cdef bint _sent
    cdef set _table
    cdef public bint complete
    cdef readonly frozenset waiting_for

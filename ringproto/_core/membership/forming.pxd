# C types of forming.py. The methods that stand here are called for every token that a lone processor has, and for packets.
from ringproto._core.membership.gathering cimport Gathering


cdef class Forming(Gathering):
    cdef object _assembler
    cdef Py_ssize_t _datagram_size
    cdef object _entropy
    cdef object _ever_joined
    cdef object _obligations

    cpdef pump(self)
    cdef _watch_successor(self)

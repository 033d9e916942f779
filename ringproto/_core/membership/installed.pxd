# C types of installed.py.
from ringproto._core.ring.ring cimport RingState


cdef class InstalledRing:
    cdef readonly RingState ring
    cdef readonly dict incarnations
    cdef public object obligations
    cdef readonly bint ever_joined

# C types of outgoing.py.
import cython

from ringproto._core.packing cimport Filling, Outbox
from ringproto._core.wire cimport Codec, Packet


cdef class RegularSource:
    cdef object _audit
    cdef Codec _codec
    cdef Outbox _outbox
    cdef Py_ssize_t _room

    cpdef Py_ssize_t backlog(self, Py_ssize_t low_max)
    cpdef bint unready(self, object ring, unsigned long long seq)

    @cython.locals(filling=Filling, packet=Packet)
    cpdef next_packet(self, object ring, unsigned long long seq, unsigned long long message_seq)

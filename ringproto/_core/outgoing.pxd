# C types of outgoing.py.
import cython

from ringproto._core.ordering cimport Ring, Source
from ringproto._core.packing cimport Filling, Outbox
from ringproto._core.pace cimport Pace
from ringproto._core.wire cimport Codec, Packet


cdef class RegularSource(Source):
    cdef object _audit
    cdef Codec _codec
    cdef Outbox _outbox
    cdef Py_ssize_t _room

    cpdef Py_ssize_t backlog(self, Py_ssize_t low_max) except -1
    cpdef bint unready(self, Ring ring, long long seq) except -1

    @cython.locals(filling=Filling, packet=Packet, pace=Pace)
    cpdef next_packet(self, Ring ring, long long seq, long long message_seq)

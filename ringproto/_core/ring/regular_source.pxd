# C types of regular_source.py.
import cython

from ringproto._core.ring.ring cimport RingState, Source
from ringproto._core.packets.packing cimport PacketContents, Outbox
from ringproto._core.ring.congestion cimport Congestion
from ringproto._core.wire.regular cimport Codec, Packet


cdef class RegularSource(Source):
    cdef object _audit
    cdef Codec _codec
    cdef Outbox _outbox
    cdef Py_ssize_t _room

    cpdef Py_ssize_t backlog(self, Py_ssize_t low_max) except -1
    cpdef bint unready(self, RingState ring, long long seq) except -1

    @cython.locals(contents=PacketContents, packet=Packet, congestion=Congestion)
    cpdef next_packet(self, RingState ring, long long seq, long long message_seq)

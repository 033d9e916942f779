# C types of gathering.py. Methods that stand here are called for every datagram or token, or whenever the state changes.
from ringproto._core.ring.token_passing cimport TokenPassing
from ringproto._core.ring.ring cimport RingState
from ringproto._core.wire.regular cimport Token


cdef class Gathering(TokenPassing):
    cdef readonly object membership_codec
    cdef readonly object ring_sequence
    cdef object _agreed
    cdef object _alone_at_once
    cdef double _fail_to_receive_s
    cdef object _formation
    cdef object _consensus
    cdef object _connectivity
    cdef object _duplicate_ids
    cdef public object failure
    cdef dict _incarnations
    cdef object _join_said_at
    cdef double _beacon_at  # from when on a beacon is to go with the token of an installed ring
    cdef object _patience
    cdef object _sequence_limits
    cdef object _reasons
    cdef object _admission
    cdef unsigned long long _suspect  # a member that is not waited for as long as the others; 0 for none

    cdef _note_sign(self, object sender)
    cdef bint _gathers_anew(self, RingState ring, Token token)
    cdef _go(self, object state)
    cpdef handle(self, int what, object sender, object body)

# C types of membership.py. Methods that stand here are called for every datagram, token or message.
import cython

from ringproto._core.holder cimport Holder
from ringproto._core.ordering cimport Ring
from ringproto._core.wire cimport Packet, Token


cdef class Membership(Holder):
    cdef readonly object membership_codec
    cdef readonly object failure
    cdef readonly object ring_sequence
    cdef list _doors  # of the present state: for each input a function, or None if it is ignored
    cdef object _agreed
    cdef object _alone_at_once
    cdef object _assembler
    cdef Py_ssize_t _datagram_size
    cdef bint _drain
    cdef object _entropy
    cdef object _ever_joined
    cdef object _formation
    cdef object _gather
    cdef object _hearing
    cdef dict _incarnations
    cdef object _join_said_at
    cdef object _obligations
    cdef double _beacon_at  # from when on a beacon is to go with the token
    cdef object _put_off_at
    cdef object _speakers
    cdef unsigned long long _suspect  # a member that is not waited for as long as the others; 0 for none

    cpdef handle(self, int what, object sender, object body)
    cpdef want_token(self)
    cdef _call_token(self)
    cpdef pump(self)
    cpdef watch_consumer(self)
    cpdef leave_when_drained(self)
    cdef _go(self, object state)

    @cython.locals(ring=Ring)
    cpdef _token_in_operational(self, object sender, Token token)

    @cython.locals(ring=Ring, here=object)
    cpdef _data_in_operational(self, object sender, Packet packet)

    cdef _note_sign(self, object sender)
    cdef bint _gathers_anew(self, Ring ring, Token token)

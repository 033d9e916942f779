# C types of membership.py. Methods that stand here are called for every datagram, token or message.
import cython

from ringproto._core.founder cimport Founder
from ringproto._core.ordering cimport Ring
from ringproto._core.wire cimport Packet, Token

cdef int _TOKEN_RETRANSMIT, _TOKEN_HOLD, _SLOW_CONSUMER


cdef class Membership(Founder):
    cdef list _doors  # of the present state: for each input a function, or None if it is ignored
    cdef bint _drain
    cdef object _put_off_at

    cdef unsigned long long _beacons
    cdef dict _put_off_deadlines
    cpdef want_token(self)
    cdef _call_token(self)
    cpdef watch_consumer(self)
    cpdef leave_when_drained(self)

    @cython.locals(ring=Ring)
    cpdef _token_in_operational(self, object sender, Token token)

    @cython.locals(ring=Ring, here=object)
    cpdef _data_in_operational(self, object sender, Packet packet)

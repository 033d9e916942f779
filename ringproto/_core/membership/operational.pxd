# C types of operational.py. Methods that stand here are called for every datagram, token or message.
import cython

from ringproto._core.membership.forming cimport Forming
from ringproto._core.ring.ring cimport RingState
from ringproto._core.wire.regular cimport Packet, Token

cdef int _TOKEN_LOSS, _TOKEN_RETRANSMIT, _TOKEN_HOLD, _SLOW_CONSUMER


cdef class Membership(Forming):
    cdef list _handlers  # of the present state: for each input a function, or None if it is ignored
    cdef bint _drain
    cdef bint _queued  # since the last turn: a message or an unblock was queued
    cdef bint _taken  # since the last turn: events were taken
    cdef bint _leave_noted  # since the last turn: it is to leave
    cdef double _leave_at
    cdef object _put_off_at
    cdef double _stall_s  # who is not asked for so long may have stood still
    cdef bint _patient  # somebody may stand still before this barrier is complete
    cdef double _undisturbed_until  # until when nobody else is let in meanwhile

    cdef unsigned long long _beacons
    cdef dict _put_off_deadlines

    cpdef note_time(self, double now)
    cpdef note_queued(self)
    cpdef note_taken(self)
    cpdef bint wants_turn(self) except -1
    cpdef take_up(self)
    cpdef handle_timeouts(self)
    cpdef extend_overdue_timers(self, double least_s, double most_s)
    cpdef want_token(self)
    cdef bint _has_to_send(self) except -1
    cdef bint _reaches_token(self) except -1
    cdef bint _may_resume(self) except -1
    cdef _call_token(self)
    cpdef watch_consumer(self)
    cpdef deliver_arrivals(self)
    cpdef leave_when_drained(self)

    @cython.locals(ring=RingState)
    cpdef _token_in_operational(self, object sender, Token token)

    @cython.locals(ring=RingState, here=object)
    cpdef _data_in_operational(self, object sender, Packet packet)

# C types of membership.py. Methods that stand here are called for every datagram, token, message or turn.
import cython

from ringproto._core.context cimport Context
from ringproto._core.membership.beacons cimport Beacons
from ringproto._core.membership.installed cimport InstalledRing
from ringproto._core.membership.operational cimport Operational
from ringproto._core.ring.retransmission cimport Retransmission
from ringproto._core.ring.ring cimport RingState

cdef int _SLOW_CONSUMER, _DATA, _TOKEN


cdef class Membership:
    cdef Context _context
    cdef readonly object state
    cdef readonly object failure
    cdef InstalledRing _installed
    cdef object _listening
    cdef object _reasons
    cdef object _patience
    cdef Beacons _beacons
    cdef Retransmission _hop
    cdef double _stall_s  # a processor that is not asked for so long may have stood still
    cdef object _gathering
    cdef object _forming
    cdef Operational _operational
    cdef list _handlers  # of the present state: for each input a function, or None if it is ignored
    cdef bint _queued
    cdef bint _taken
    cdef bint _leave_noted
    cdef double _leave_at
    cdef dict _put_off_deadlines

    cpdef note_time(self, double now)
    cpdef note_queued(self)
    cpdef note_taken(self)

    @cython.locals(operational=Operational)
    cpdef bint wants_turn(self) except -1

    cpdef take_up(self)
    cpdef bint visit_unfinished(self) except -1
    cpdef continue_visit(self)
    cpdef deliver_arrivals(self)
    cpdef handle_timeouts(self)
    cpdef extend_overdue_timers(self, double least_s, double most_s)

    @cython.locals(operational=Operational)
    cpdef want_token(self)

    @cython.locals(context=Context)
    cpdef watch_consumer(self)

    @cython.locals(ring=RingState)
    cpdef leave_when_drained(self)

    @cython.locals(operational=Operational)
    cpdef handle(self, int what, object sender, object body)
    cpdef _act(self, object change)

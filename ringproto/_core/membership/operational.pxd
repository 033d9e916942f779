# C types of operational.py. Methods that stand here are called for every datagram, token or turn.
import cython

from ringproto._core.context cimport Context
from ringproto._core.counters cimport Counters
from ringproto._core.membership.beacons cimport Beacons
from ringproto._core.membership.installed cimport InstalledRing
from ringproto._core.packets.delivery cimport Delivery
from ringproto._core.ring.ring cimport RingState
from ringproto._core.ring.token_passing cimport TokenPassing
from ringproto._core.wire.regular cimport Packet, Token

cdef int _TOKEN_LOSS, _TOKEN_RETRANSMIT


cdef class Operational:
    cdef Context _context
    cdef object _listening
    cdef InstalledRing _installed
    cdef dict _incarnations
    cdef object _reasons
    cdef object _patience
    cdef Beacons _beacons
    cdef RingState _ring
    cdef readonly TokenPassing passing
    cdef bint _patient
    cdef double _undisturbed_until

    @cython.locals(ring=RingState, counters=Counters, passing=TokenPassing, here=object)
    cpdef data(self, object sender, Packet packet)

    @cython.locals(passing=TokenPassing)
    cpdef token(self, object sender, Token token)

    cdef _take(self, Token token)
    cdef _visit(self, Token token)
    cdef _visited(self)
    cpdef bint has_drained(self) except -1
    cpdef continue_visit(self)

    @cython.locals(passing=TokenPassing)
    cpdef pump(self)

    cpdef bint has_to_send(self) except -1

    @cython.locals(passing=TokenPassing)
    cpdef call_token(self)

    @cython.locals(delivery=Delivery)
    cpdef bint may_resume(self) except -1

    cpdef resume_delivery(self)
    cpdef deliver_arrivals(self)
    cpdef _settle_patience(self)

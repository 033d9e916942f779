# C types of token_passing.py. Methods that stand here are called for every datagram, token or message.
import cython

from ringproto._core.barrier cimport Barrier
from ringproto._core.counters cimport Counters
from ringproto._core.packets.delivery cimport Delivery
from ringproto._core.ring.ring cimport RingState, Visit
from ringproto._core.ring.regular_source cimport RegularSource
from ringproto._core.packets.packing cimport Outbox
from ringproto._core.ring.retransmission cimport Retransmission
from ringproto._core.timers cimport Timers
from ringproto._core.wire.regular cimport Codec, Token

cdef int _TOKEN_LOSS, _TOKEN_RETRANSMIT, _TOKEN_HOLD, _BURSTS_MAX


cdef class TokenPassing:
    cdef readonly object node
    cdef readonly object config
    cdef public double now
    cdef readonly Codec codec
    cdef readonly Counters counters
    cdef readonly object notices
    cdef readonly Timers timers
    cdef public list transmits
    cdef readonly object state
    cdef readonly bint leaving
    cdef readonly Barrier barrier
    cdef readonly Outbox outbox
    cdef readonly Delivery delivery
    cdef readonly RingState ring
    cdef Py_ssize_t _accelerated_window
    cdef object _audit
    cdef bint _called  # the token is not to rest here at this visit, or at the next
    cdef double _hold_s
    cdef double _keep_s
    cdef object _origin
    cdef Token _own_token
    cdef Py_ssize_t _requests_max
    cdef double _token_timeout_s
    cdef Visit _resting  # a visit that goes on, because the token rests here
    cdef RegularSource _source
    cdef double _least_resend_s
    cdef Retransmission _hop  # the token on its way to the successor
    cdef double _retransmit_s
    cdef Py_ssize_t _unanswered  # how often the token was sent again since the successor gave a sign
    cdef double _sign_at  # when it gave one, or when the token was passed to it
    cdef bint _woke

    cdef _transmit(self, object destination, bytes datagram, str count)
    cdef bint _accepts(self, RingState ring, Token token)
    cdef _note_token(self, RingState ring, Token token)
    cdef _visited(self)
    cdef _visit(self, Token token)
    cpdef continue_visit(self)
    cpdef bint visit_unfinished(self)

    @cython.locals(ring=RingState, rest_s=double)
    cdef _use_token(self, Visit visit)

    @cython.locals(ring=RingState, busy=bint)
    cdef double _rest_s(self, Visit visit) except -1.0

    cdef _pause(self, Visit visit)

    @cython.locals(timers=Timers, deadline=double)
    cdef _rest(self, Visit visit, double rest_s)

    cdef _deliver(self)

    @cython.locals(before=list, after=list, accelerated=Py_ssize_t)
    cdef _pass_token(self, RingState ring, Visit visit)

    cdef _broadcast(self, list datagrams)

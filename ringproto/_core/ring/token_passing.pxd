# C types of token_passing.py. Methods that stand here are called for every datagram, token or message.
import cython

from ringproto._core.barrier cimport Barrier
from ringproto._core.context cimport Context
from ringproto._core.packets.delivery cimport Delivery
from ringproto._core.packets.packing cimport Outbox
from ringproto._core.ring.regular_source cimport RegularSource
from ringproto._core.ring.retransmission cimport Retransmission
from ringproto._core.ring.ring cimport RingState, Visit
from ringproto._core.timers cimport Timers
from ringproto._core.wire.regular cimport Codec, Token

cdef int _TOKEN_LOSS, _TOKEN_RETRANSMIT, _TOKEN_HOLD, _STANDSTILL, _INSTALLED, _IS_TOKEN, _BURSTS_MAX


cdef class TokenPassing:
    cdef Context _context
    cdef Timers _timers
    cdef Outbox _outbox
    cdef Delivery _delivery
    cdef Barrier _barrier
    cdef RegularSource _source
    cdef readonly RingState ring
    cdef readonly Retransmission hop
    cdef Py_ssize_t _accelerated_window
    cdef double _fail_to_receive_s
    cdef double _hold_s
    cdef double _keep_s
    cdef double _least_resend_s
    cdef double _retransmit_s
    cdef double _token_timeout_s
    cdef Py_ssize_t _unanswered  # how often the token was sent again since the successor gave a sign
    cdef double _sign_at  # when it gave one, or when the token was passed to it
    cdef public Visit resting
    cdef public Token own_token
    cdef public bint called
    cdef public bint woke
    cdef readonly double timeout_s
    cdef readonly double fail_to_receive_s

    cpdef bint accepts(self, Token token) except -1
    cpdef acknowledge(self, object sender, Token token)

    @cython.locals(ring=RingState)
    cpdef note(self, Token token)

    @cython.locals(ring=RingState)
    cpdef bint ends_ring(self, Token token) except -1

    cpdef end_rest(self)
    cpdef visit(self, Token token)

    @cython.locals(visit=Visit)
    cpdef bint continue_visit(self) except -1

    @cython.locals(ring=RingState, codec=Codec, rest_s=double)
    cdef _use_token(self, Visit visit)

    @cython.locals(ring=RingState, busy=bint)
    cdef double _rest_s(self, Visit visit) except -1.0

    cpdef bint visit_unfinished(self) except -1
    cdef _pause(self, Visit visit)

    @cython.locals(timers=Timers, deadline=double)
    cdef _rest(self, Visit visit, double rest_s)

    cpdef deliver(self)

    @cython.locals(ring=RingState, now=double, before=list, after=list)
    cpdef pass_on(self, Visit visit)

    cdef _broadcast(self, list datagrams)
    cpdef bint is_in_reach(self) except -1
    cpdef bint call(self) except -1
    cpdef wait(self, int times)
    cpdef watch_successor(self)
    cpdef note_sign(self, object sender)
    cdef _note_answer(self)

# C types of membership.py. Methods that stand here are called for every datagram, token or message.
import cython

from ringproto._core.barrier cimport Barrier
from ringproto._core.counters cimport Counters
from ringproto._core.delivery cimport Delivery
from ringproto._core.ordering cimport Ring, Visit
from ringproto._core.outgoing cimport RegularSource
from ringproto._core.packing cimport Outbox
from ringproto._core.timers cimport Timers
from ringproto._core.wire cimport Codec, Packet, Token


cdef class Membership:
    cdef readonly object node
    cdef readonly object config
    cdef public double now
    cdef readonly Codec codec
    cdef readonly object membership_codec
    cdef readonly Counters counters
    cdef readonly Timers timers
    cdef public list transmits
    cdef readonly object state
    cdef readonly object failure
    cdef readonly bint leaving
    cdef readonly object ring_sequence
    cdef readonly Barrier barrier
    cdef readonly Outbox outbox
    cdef readonly Delivery delivery
    cdef readonly Ring ring
    cdef list _doors  # of the present state: for each input a function, or None if it is ignored
    cdef object _agreed
    cdef object _alone_at_once
    cdef object _assembler
    cdef bint _called  # the token is not to rest here at this visit, or at the next
    cdef object _audit
    cdef Py_ssize_t _datagram_size
    cdef bint _drain
    cdef object _entropy
    cdef object _ever_joined
    cdef object _formation
    cdef object _gather
    cdef object _hearing
    cdef dict _incarnations
    cdef bint _kept_without_clock  # the deadline of a token that is kept counts from a time that may be long past
    cdef object _join_said_at
    cdef object _obligations
    cdef object _origin
    cdef Token _own_token
    cdef object _put_off_at
    cdef Py_ssize_t _requests_max
    cdef Visit _resting  # a visit that goes on, because the token rests here
    cdef RegularSource _source
    cdef object _speakers
    cdef double _resend_s
    cdef bint _woke

    cpdef handle(self, int what, object sender, object body)
    cpdef want_token(self)
    cdef _call_token(self)
    cpdef pump(self)
    cpdef watch_consumer(self)
    cpdef leave_when_drained(self)
    cdef _go(self, object state)
    cdef _transmit(self, object destination, bytes datagram, str count)

    @cython.locals(ring=Ring)
    cpdef _token_in_operational(self, object sender, Token token)

    @cython.locals(ring=Ring, here=object)
    cpdef _data_in_operational(self, object sender, Packet packet)

    cdef bint _accepts(self, Ring ring, Token token)
    cdef _note_token(self, Ring ring, Token token)
    cdef bint _gathers_anew(self, Ring ring, Token token)
    cdef _visit(self, Token token)
    cdef _go_on(self)

    @cython.locals(ring=Ring, rest_s=double)
    cdef _use_token(self, Visit visit)

    @cython.locals(ring=Ring, busy=bint)
    cdef double _rest_s(self, Visit visit) except -1.0

    @cython.locals(timers=Timers, deadline=double)
    cdef _rest(self, Visit visit, double rest_s)

    cdef _deliver(self)
    cpdef deliver_arrivals(self)
    @cython.locals(before=list, after=list)
    cdef _pass_token(self, Ring ring, Visit visit)

    cdef _broadcast(self, list datagrams)

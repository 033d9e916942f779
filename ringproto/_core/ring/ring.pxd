# C types of ring.py. Sequence numbers of a ring are below 2**63 (regular.py), and they are signed, so that their
# differences may be below zero.
import cython

from ringproto._core.ring.flow_control cimport FlowControl
from ringproto._core.ring.congestion cimport Congestion
from ringproto._core.packets.window cimport Window
from ringproto._core.wire.regular cimport Codec, Packet, Token

cdef int _EXCHANGE, _RECEIVED, _INSTALLED, _HIGH
cdef long long _END, _LONE_ROTATIONS, _REQUESTS_IN_CONGESTION


cdef class RingState


cdef class Source:
    cpdef Py_ssize_t backlog(self, Py_ssize_t low_max) except -1
    cpdef bint unready(self, RingState ring, long long seq) except -1
    cpdef next_packet(self, RingState ring, long long seq, long long message_seq)


cdef class RingState:
    cdef double _ask_after
    cdef double _ask_wait_s
    cdef long long _again_seq
    cdef Py_ssize_t _again
    cdef Py_ssize_t _insisted
    cdef list _asked
    cdef FlowControl _flow
    cdef long long _last_aru
    cdef long long _last_seq
    cdef long long _lone_since
    cdef long long _noted_seq
    cdef long long _piece  # packets that are sent in one go
    cdef Py_ssize_t _requests_max
    cdef long long _told_stable  # what was stable at the visit before this one
    cdef double _retransmit_min_s
    cdef double _retransmit_s
    cdef double _usual_s
    cdef double _visited_at
    cdef public double aru_changed_at
    cdef long long _aru_seen
    cdef long long _aru_held_by
    cdef public bint blocked
    cdef public bytes forwarded
    cdef public long long forwarded_seq
    cdef readonly Token forwarded_token
    cdef readonly long long recovered_to
    cdef public object id
    cdef public Py_ssize_t idle_visits
    cdef public long long last_own
    cdef readonly long long last_safe
    cdef readonly long long last_sender
    cdef public tuple members
    cdef public bytes name
    cdef readonly long long node
    cdef readonly long long origin
    cdef readonly Congestion congestion
    cdef public int phase
    cdef public bint rested
    cdef public long long retransmitted
    cdef public double rotation_s
    cdef public long long rotations
    cdef public long long sent
    cdef public long long stable
    cdef public object successor
    cdef public long long token_seq
    cdef public Window window

    cpdef reject_reason(self, Token token)
    cdef long long _rotation(self, Token token) except? -1
    cpdef bint exhausted(self, Token token)
    cpdef bint plausible(self, Token token)

    @cython.locals(
        rotation=double, took_s=double, quiet=bint, stuck=bint, moved=bint, may_have_rested=bint, new="long long",
        behind="long long",
    )
    cpdef note_arrival(self, Token token, double now)

    cdef _note_usual(self, double rotation)
    cpdef bint misplaced(self, Packet packet)
    cpdef note_packet(self, Packet packet)
    cpdef slowest_member(self, double now, double limit_s)
    cpdef double retransmit_after(self)
    cpdef bint rests_here(self, Visit visit)
    cpdef bint rests_elsewhere(self)
    cpdef bint keeps(self, Visit visit)
    cdef bint _lone(self)
    cdef _note_sender(self, long long sender, long long seq)
    cpdef Visit visit(self, Token token, Source source, long long held, Codec codec)

    @cython.locals(visit=Visit, aru="long long")
    cpdef Visit begin_visit(self, Token token, Source source, long long held)

    @cython.locals(window=Window, packet=Packet, out=list)
    cdef _send_again(self, Visit visit, long long allowed)

    @cython.locals(packet=Packet, more="long long")
    cdef _insist(self, Token came, list out, long long allowed)

    @cython.locals(backlog="long long")
    cdef long long _allowed(self, Visit visit, Source source, long long held) except? -1

    @cython.locals(
        window=Window, packet=Packet, seq="long long", allowed="long long", piece="long long", taken="long long",
        message_seq="long long",
    )
    cpdef send(self, Visit visit, Source source, long long held, Codec codec)

    @cython.locals(
        token=Token, seq="long long", aru="long long", aru_id="long long", backlog="long long", acknowledge=int
    )
    cpdef end_visit(self, Visit visit, Source source, long long held, Codec codec)

    cdef bint _sets_aru(self, Token token)

    @cython.locals(mine=list, most=Py_ssize_t)
    cdef list _requests(self, list others)

    @cython.locals(asked=Py_ssize_t, now=double)
    cdef list _due(self, list missing)


cdef class Visit:
    cdef readonly Py_ssize_t bursts
    cdef readonly Token came
    cdef readonly list datagrams
    cdef readonly long long message_seq
    cdef readonly Py_ssize_t new
    cdef readonly list requests
    cdef readonly Py_ssize_t sent
    cdef readonly long long seq
    cdef readonly Token token
    cdef readonly bint unfinished

    cpdef tuple take_datagrams(self, Py_ssize_t after)

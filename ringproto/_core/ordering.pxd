# C types of ordering.py. Sequence numbers of a ring are below 2**63 (wire.py), and here they are signed, so that their
# differences may be below zero; where a visit computes with those of a token they stay numbers of Python.
import cython

from ringproto._core.flow_control cimport FlowControl
from ringproto._core.pace cimport Pace
from ringproto._core.window cimport Window
from ringproto._core.wire cimport Codec, Packet, Token


cdef class Ring:
    cdef double _ask_after
    cdef double _ask_max_s
    cdef double _ask_wait_s
    cdef list _asked
    cdef FlowControl _flow
    cdef long long _last_aru
    cdef long long _last_seq
    cdef long long _lone_since
    cdef long long _noted_seq
    cdef long long _piece  # packets that are sent in one go
    cdef Py_ssize_t _requests_max
    cdef long long _told_stable  # what was stable at the visit before this one
    cdef double _usual_s
    cdef double _visited_at
    cdef public double aru_changed_at
    cdef public tuple aru_seen
    cdef public bint blocked
    cdef public bytes forwarded
    cdef public long long forwarded_seq
    cdef public object id
    cdef public Py_ssize_t idle_visits
    cdef public long long last_own
    cdef readonly long long last_safe
    cdef readonly long long last_sender
    cdef public tuple members
    cdef public bytes name
    cdef public object node
    cdef readonly long long origin
    cdef readonly Pace pace
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

    cpdef objection(self, Token token)

    cpdef bint worn_out(self, Token token)
    cpdef bint plausible(self, Token token)

    @cython.locals(rotation=double, took_s=double, quiet=bint, stuck=bint, may_have_rested=bint)
    cpdef note_arrival(self, Token token, double now)

    cdef _note_usual(self, double rotation)
    cpdef note_packet(self, Packet packet)
    cpdef holds_up(self, double now, double limit_s)
    cpdef double retransmit_after(self, object config)
    cpdef bint rests_here(self, Visit visit)
    cpdef bint rests_elsewhere(self)
    cpdef bint keeps(self, Visit visit)
    cdef bint _lone(self)
    cdef _note_sender(self, long long sender, long long seq)
    cpdef Visit visit(self, object token, object source, long long held, Codec codec)

    @cython.locals(visit=Visit)
    cpdef Visit begin_visit(self, object token, object source, long long held)

    @cython.locals(window=Window, packet=Packet, out=list)
    cdef _send_again(self, Visit visit, long long allowed)

    cdef long long _allowed(self, Visit visit, object source, long long held) except? -1

    @cython.locals(
        window=Window, packet=Packet, seq="long long", allowed="long long", piece="long long", taken="long long",
        message_seq=object,
    )
    cpdef send(self, Visit visit, object source, long long held, Codec codec)

    @cython.locals(seq="long long")
    cpdef end_visit(self, Visit visit, object source, long long held, Codec codec)

    @cython.locals(window=Window)
    cdef tuple _settled_aru(self, object token, long long seq)

    @cython.locals(mine=list)
    cdef list _requests(self, list others)

    @cython.locals(asked=Py_ssize_t, now=double)
    cdef list _due(self, list missing)


cdef class Visit:
    cdef readonly Py_ssize_t bursts
    cdef readonly object came
    cdef readonly list datagrams
    cdef readonly object message_seq
    cdef readonly Py_ssize_t new
    cdef readonly list requests
    cdef readonly Py_ssize_t sent
    cdef readonly long long seq
    cdef readonly Token token
    cdef readonly bint unfinished

    cpdef tuple take_datagrams(self, Py_ssize_t after)

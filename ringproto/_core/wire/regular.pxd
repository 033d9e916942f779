# C types of regular.py. The attributes of Packet are on the path of every datagram.
import cython

cdef int _VERSION, _SUITE, _IS_SAFE, _IS_RECOVERED
cdef Py_ssize_t _TRAILER, _ENVELOPE, _HEADER, _DATA, _RECOVERED, _TOKEN
cdef unsigned long long _COUNT_MAX, _SEQUENCE_MAX

# Sequence numbers are below 2**63, as decoding sees to, and signed everywhere but where they are decoded, so that their
# differences may be below zero.


cdef class Packet:
    cdef public bytes datagram  # as it came, and as it is sent again
    cdef public long long sender  # node id of the originator
    cdef public bytes ring
    cdef public long long seq
    cdef public long long message_seq
    cdef public bint safe
    cdef public bytes old_ring  # empty: it carries no packet of an old ring
    cdef public long long old_seq
    cdef public Py_ssize_t body  # where the chunks begin
    cdef public tuple ended

    cpdef bytes chunks(self)


cdef class Token:
    cdef public long long destination
    cdef public bytes ring
    cdef public long long token_seq
    cdef public long long seq
    cdef public long long message_seq
    cdef public long long aru
    cdef public long long aru_id
    cdef public long long fcc
    cdef public long long backlog
    cdef public int phase
    cdef public bint incomplete
    cdef public tuple requests
    cdef public int acknowledge
    cdef public int copy


cdef class Codec:
    cdef unsigned long long _cluster
    cdef object _node
    cdef bytes _data_head  # the headers of a packet, of one that is to be delivered safe, and of a token
    cdef bytes _safe_head
    cdef bytes _token_head

    cdef bytes _head(self, int kind, int flags=*)

    @cython.locals(data="const unsigned char *", size=Py_ssize_t, kind=int, flags=int, sender="unsigned long long")
    cpdef tuple open(self, bytes datagram)

    cpdef Packet encode_data(self, bytes ring, long long seq, long long message_seq, bint safe, bytes chunks)

    @cython.locals(head=bytes)
    cpdef Packet encode_chunks(
        self, bytes ring, long long seq, long long message_seq, bint safe, list chunks
    )

    @cython.locals(
        data="const unsigned char *", size=Py_ssize_t, flags=int, body=Py_ssize_t, old_ring=bytes, old_seq="unsigned long long",
        seq="unsigned long long", message_seq="unsigned long long", packet=Packet
    )
    cpdef Packet decode_data(self, bytes datagram)

    @cython.locals(body=bytes)
    cpdef bytes encode_token(self, Token token)

    @cython.locals(
        size=Py_ssize_t, token_seq="unsigned long long", seq="unsigned long long", message_seq="unsigned long long",
        aru="unsigned long long", phase=int, count=Py_ssize_t, requests=tuple, token=Token,
        data="const unsigned char *"
    )
    cpdef Token decode_token(self, bytes datagram, Py_ssize_t requests_max)


@cython.locals(value="unsigned long long", place=Py_ssize_t)
cdef unsigned long long read_u32(const unsigned char *data, Py_ssize_t at) noexcept

@cython.locals(value="unsigned long long", place=Py_ssize_t)
cdef unsigned long long read_u64(const unsigned char *data, Py_ssize_t at) noexcept

@cython.locals(
    data="const unsigned char *", size=Py_ssize_t, flags=int, ended=Py_ssize_t, whole=int, head=Py_ssize_t, last=int, control=int, priority=int
)
cpdef Py_ssize_t check_chunks(bytes datagram, Py_ssize_t at, Py_ssize_t end) except -1

cpdef bytes chunk_head(int flags, int size)

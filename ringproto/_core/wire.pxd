# C types of wire.py. The attributes of Packet are on the path of every datagram.
import cython


cdef class Packet:
    cdef public bytes datagram  # as it came, and as it is sent again
    cdef public object sender  # node id of the originator
    cdef public bytes ring
    cdef public unsigned long long seq
    cdef public unsigned long long message_seq
    cdef public bint safe
    cdef public bytes old_ring  # empty: it carries no packet of an old ring
    cdef public unsigned long long old_seq
    cdef public Py_ssize_t body  # where the chunks begin

    cpdef bytes chunks(self)


cdef class Codec:
    cdef object _cluster
    cdef object _node

    cdef bytes _head(self, int kind, int flags=*)
    cpdef tuple open(self, bytes datagram)
    cpdef Packet encode_data(self, bytes ring, unsigned long long seq, unsigned long long message_seq, bint safe, bytes chunks)
    cpdef Packet decode_data(self, bytes datagram)


@cython.locals(size=Py_ssize_t, flags=int, ended=Py_ssize_t, whole=bint)
cpdef Py_ssize_t check_chunks(bytes datagram, Py_ssize_t at, Py_ssize_t end) except -1

cpdef bytes chunk_head(int flags, int size)

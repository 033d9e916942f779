# C types of _traffic.py: the work for each hop of the token.
import cython

from ringproto.transports._segments cimport Cutter, Joiner


cdef class UdpSocket:
    cdef public object receiver
    cdef public object sender
    cdef readonly Joiner joiner
    cdef readonly object _counts
    cdef public bint more
    cdef public Py_ssize_t errors_in_a_row
    cdef public long long heard
    cdef public int lost_to
    cdef public bytes lost_address
    cdef public int refused

    @cython.locals(whole=list, read=Py_ssize_t)
    cpdef list read(self, object known, object introduce)

    @cython.locals(excess=Py_ssize_t)
    cpdef double pause_s(self)

    @cython.locals(total=Py_ssize_t, sent=Py_ssize_t, error=int, refused=bint)
    cpdef Py_ssize_t write_some(self, list addresses, list heads, list datagrams, Py_ssize_t place) except -1


cdef class Traffic:
    cdef readonly object node
    cdef readonly Py_ssize_t datagram_size_max
    cdef public Py_ssize_t _segment_size
    cdef public dict _narrow
    cdef Cutter _cutter
    cdef readonly object _counts
    cdef public list _lines
    cdef public UdpSocket _writer
    cdef public list _everybody
    cdef public dict _addresses
    cdef public bytes _elsewhere
    cdef public object _origins
    cdef public bint _more
    cdef public int _readable_fd
    cdef public int _wait_for
    cdef public int _unlooked
    cdef public int _look_after
    cdef public bint _sending
    cdef public tuple _kept
    cdef public object _unsaid
    cdef public bint _closed
    cdef public long long _datagrams_received
    cdef public long long _bytes_received

    @cython.locals(addresses=list, heads=list, datagrams=list, place=Py_ssize_t)
    cpdef bint send_nowait(self, object transmits) except -1

    @cython.locals(place=Py_ssize_t)
    cpdef Py_ssize_t _write(self, list addresses, list heads, list datagrams) except -1

    @cython.locals(
        addresses=list, heads=list, datagrams=list, strangers=list, broadcast_heads=list, broadcasts=list, cut=list,
        size_max=Py_ssize_t, segment_size=Py_ssize_t, size=Py_ssize_t, narrow=dict, known=dict, mark=int,
        datagram=bytes, whole=bint
    )
    cpdef tuple _route(self, object transmits)

    cpdef bint _is_due(self)

    @cython.locals(writer=UdpSocket)
    cpdef _look_at_loss(self)

    @cython.locals(narrow=dict)
    cdef _route_broadcasts(self, list broadcast_heads, list broadcasts, list addresses, list heads, list datagrams)

    @cython.locals(head=bytes, datagram=bytes, cut=list)
    cdef _route_narrow(
        self, bytes address, Py_ssize_t size, list broadcast_heads, list broadcasts, list addresses, list heads,
        list datagrams
    )

    @cython.locals(batch=list, datagram=bytes, size=Py_ssize_t, line=UdpSocket)
    cpdef list _read_counted(self)

    cpdef _check_open(self)

    @cython.locals(line=UdpSocket, batch=list)
    cpdef list _read(self)

# C types of packing.py.
import cython

from ringproto._core.barrier cimport Barrier
from ringproto._core.packets.send_queue cimport SendQueue

cdef Py_ssize_t _HEAD, _SMALLEST_PIECE
cdef int _FIRST, _LAST, _SAFE


cdef class PacketContents:
    cdef readonly list chunks
    cdef readonly list flags
    cdef readonly list payloads
    cdef public bint safe
    cdef public bint unblock
    cdef public bint high
    cdef public Py_ssize_t low  # bytes

    cpdef add(self, int flags, bytes payload)


cdef class Outbox:
    cdef readonly list queues  # a SendQueue for each priority
    cdef Barrier _barrier
    cdef Py_ssize_t _low_every
    cdef Py_ssize_t _high_only
    cdef bytes _head_bytes  # the head of the chunk that was made last
    cdef int _head_flags
    cdef Py_ssize_t _head_size

    @cython.locals(recovery=SendQueue, high=SendQueue, low=SendQueue)
    cpdef bint ready(self)

    @cython.locals(recovery=SendQueue, high=SendQueue, low=SendQueue)
    cpdef Py_ssize_t backlog(self, Py_ssize_t room, Py_ssize_t low_max=*) except -1

    @cython.locals(left=Py_ssize_t, waiting=bint)
    cpdef PacketContents fill(self, Py_ssize_t room, Py_ssize_t low_room=*)

    @cython.locals(may=Py_ssize_t)
    cdef Py_ssize_t _take_low(self, Py_ssize_t room, Py_ssize_t low_room, PacketContents contents) except -1

    @cython.locals(
        queue=SendQueue, chunks=list, payload=bytes, offset=Py_ssize_t, left=Py_ssize_t, size=Py_ssize_t,
        flags=int, number=int
    )
    cdef Py_ssize_t _take(self, object priority, Py_ssize_t room, PacketContents contents) except -1

    cdef bytes _head(self, int flags, Py_ssize_t size)

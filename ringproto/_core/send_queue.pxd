# C types of send_queue.py.
import cython


cdef class SendQueue:
    cdef object _items  # a deque of (payload, guarantee)
    cdef Py_ssize_t _max
    cdef Py_ssize_t _bytes_max
    cdef readonly Py_ssize_t bytes
    cdef public Py_ssize_t cursor  # how much of the head is sent

    cpdef bint put(self, bytes payload, object guarantee)
    cpdef tuple head(self)

    @cython.locals(payload=bytes)
    cpdef pop(self)

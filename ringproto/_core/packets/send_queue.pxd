# C types of send_queue.py.
import cython

cdef Py_ssize_t _HEAD, _SENT_MAX


cdef class SendQueue:
    cdef Py_ssize_t _bytes_max
    cdef Py_ssize_t _first  # where the head is
    cdef list _guarantees
    cdef Py_ssize_t _max
    cdef list _payloads
    cdef readonly Py_ssize_t bytes
    cdef public Py_ssize_t cursor  # how much of the head is sent

    @cython.locals(count=Py_ssize_t)
    cpdef bint put(self, bytes payload, object guarantee) except -1

    cpdef Py_ssize_t waiting(self)
    cpdef bytes head(self)
    cpdef object guarantee(self)
    cpdef pop(self)

# C types of message.py.
import cython

cdef class Message:
    cdef readonly bytes payload
    cdef readonly object sender
    cdef readonly object priority
    cdef readonly object guarantee
    cdef readonly object ring_id
    cdef readonly unsigned long long seq
    cdef readonly bint settled

    cpdef tuple _values(self)


@cython.locals(message=Message)
cpdef Message new_message(
    bytes payload, object sender, object priority, object guarantee, object ring_id, unsigned long long seq, bint settled
)

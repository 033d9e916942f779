# C types of counters.py.


cdef class Counters:
    cdef readonly dict values

    cpdef add(self, str name, Py_ssize_t count=*)

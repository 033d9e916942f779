# The functions of _room.py, on the memory of a bytes object that no other code has seen yet.
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.string cimport memcpy

cdef extern from "Python.h":
    void Py_SET_SIZE(object room, Py_ssize_t size)


cdef inline bytes empty(Py_ssize_t size):
    return PyBytes_FromStringAndSize(NULL, size)


cdef inline void put(bytes room, Py_ssize_t at, const unsigned char *data, Py_ssize_t start, Py_ssize_t size) noexcept:
    memcpy(PyBytes_AS_STRING(room) + at, data + start, size)


cdef inline bytes finished(bytes room, Py_ssize_t size):
    # Shorten the object in place. The unused memory stays allocated with it, and is smaller than one piece.
    Py_SET_SIZE(room, size)
    PyBytes_AS_STRING(room)[size] = 0
    return room


cdef inline bytes head(Py_ssize_t place, Py_ssize_t count, int number, Py_ssize_t size):
    cdef bytes made = PyBytes_FromStringAndSize(NULL, 8)
    cdef unsigned char *at = <unsigned char *> PyBytes_AS_STRING(made)
    at[0] = 0
    at[1] = <unsigned char> place
    at[2] = <unsigned char> count
    at[3] = <unsigned char> (number >> 16)
    at[4] = <unsigned char> (number >> 8)
    at[5] = <unsigned char> number
    at[6] = <unsigned char> (size >> 8)
    at[7] = <unsigned char> size
    return made

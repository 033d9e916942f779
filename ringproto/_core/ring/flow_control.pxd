# C types of flow_control.py. These numbers of a token are 32 bits wide, so sums of some of them fit.
import cython

from ringproto._core.wire.regular cimport Token


cdef class FlowControl:
    cdef long long _backlog
    cdef long long _fcc
    cdef long long _visit_max
    cdef long long _window

    @cython.locals(others="long long", room="long long", waiting="long long", fcc="long long", all_waiting="long long")
    cpdef long long allowed(self, Token token, long long held, long long backlog)

    cpdef long long new_allowed(self, long long unconfirmed, long long allowed, bint by_chance)

    @cython.locals(fcc="long long", waiting="long long")
    cpdef tuple settle(self, Token token, long long sent, long long held, long long backlog)

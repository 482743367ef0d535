cimport cython


cdef class Sealer:
    cdef public dict secrets
    cdef public int current, oldest
    cdef dict _derived, _keyed

    @cython.locals(states=dict)
    cpdef bytes mac(self, str label, int generation, int size, bytes body)

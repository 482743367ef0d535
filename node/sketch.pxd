cimport cython


@cython.locals(new=set, largest=bytes, mark=bytes, number=bytes, i=Py_ssize_t)
cpdef bytes merged(bytes sketch, marks)

@cython.locals(low=Py_ssize_t, high=Py_ssize_t, middle=Py_ssize_t, at=Py_ssize_t)
cdef bytes _with(bytes sketch, bytes number)

cpdef long estimate(bytes sketch)

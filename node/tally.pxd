cimport cython


cdef class Day:
    cdef public long requests
    cdef public long hits
    cdef public double total
    cdef public double low
    cdef public long low_at
    cdef public double high
    cdef public long high_at
    cdef public long forged
    cdef public long guessed

    cpdef add(self, Day other)


cdef class Cell:
    cdef public Day day
    cdef public dict sources


cdef class Tally:
    cdef long _second
    cdef dict _cells
    cdef list _done

    @cython.locals(cell=Cell, second=long)
    cdef Cell _cell(self, prefix_id, double now)

    @cython.locals(cell=Cell, day=Day, second=long)
    cpdef count(self, prefix_id, bint hit, double seconds, str address, double now)


cdef _gather(sums, prefix_id, day, second, Cell cell)

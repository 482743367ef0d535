from node.scan_memory cimport Scanned
from node.scan_tokens cimport Claims


cdef class Frame:
    cdef readonly tuple pieces
    cdef readonly dict headers
    cdef readonly list lines


cdef class Showing:
    cdef public Claims claims
    cdef public Scanned of
    cdef public bytes head
    cdef public bytes before
    cdef public bytes between
    cdef public bytes end
    cdef public bytes after
    cdef public Py_ssize_t rest
    cdef public object scans
    cdef public list around
    cdef public bytes said
    cdef public bytes lines

    cpdef bytes page(self, bytes begin, bytes number, bytes closing, bytes token)


cdef class Kept:
    cdef public object resolved
    cdef public object events
    cdef public object links
    cdef public Frame frame
    cdef public object proof
    cdef public object scans
    cdef public double counted
    cdef public Showing showing

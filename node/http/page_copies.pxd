from node.http.copy_groups cimport Grouped
from node.http.frames cimport Kept


cdef class PageCopy(Grouped):
    cdef public Kept kept
    cdef public object reader

cimport cython

from node.http.frames cimport Kept, Showing
from node.scan_memory cimport Scanned, ScanMemory, Told


@cython.locals(showing=Showing)
cpdef ready(node, Kept kept, reader)

cdef bint _same_but_number(said, scans) except -1

cdef Showing _showing(node, Kept kept)

@cython.locals(memory=ScanMemory, of=Scanned, told=Told)
cpdef bint told_lately(node, Kept kept, double now) except -1

cimport cython

from node.http.begun_pages cimport ready, told_lately
from node.http.copy_groups cimport Grouped
from node.http.frames cimport Kept, Showing
from node.http.page_copies cimport PageCopy
from node.scan_memory cimport Scanned
from node.scan_tokens cimport Claims
from node.scans cimport accept_read
from node.tally cimport Tally


cdef set _records, _images
cdef dict _pages
cdef double _CLAIM_LASTS


cdef class Lines:
    cdef public object defaults
    cdef public bytes head, pixel, after, before, behind


cdef class KnownHeads:
    cdef public object transport, flow
    cdef object _protocol, _door, _node, _state
    cdef dict _records, _pages
    cdef Tally _tally
    cdef Showing _showing
    cdef bytes _token, _nonce
    cdef unsigned int _second
    cdef bint _served
    cdef Lines _lines

    @cython.locals(copy=Grouped, wire=tuple, now=double)
    cpdef bint record(self, bytes target) except -1

    cdef _answered(self, Grouped copy, double begun, double now)

    @cython.locals(clean=bint, end=Py_ssize_t, rest=bytes)
    cpdef data_received(self, bytes data)

    @cython.locals(copy=PageCopy, kept=Kept, showing=Showing, target=bytes, language=bytes, now=double)
    cdef bint _scan(self, bytes data, Py_ssize_t end, bytes rest) except -1

    @cython.locals(showing=Showing, second="unsigned int", now=double)
    cpdef double write(self, Kept kept, bytes closing) except -1

    @cython.locals(now=double)
    cdef double _begun(self) except -1

    @cython.locals(lines=Lines)
    cdef Lines _fresh(self)

    @cython.locals(lines=Lines, cookie=bytes, rest=bytes, at=Py_ssize_t, around=Py_ssize_t)
    cdef _cookie(self, bytes data, Py_ssize_t end)

    @cython.locals(cookie=bytes, token=bytes, now=double, showing=Showing, lines=Lines)
    cdef bint _image(self, bytes data, Py_ssize_t end) except -1

    cdef _taken(self, Showing showing, bytes cookie, double now)


@cython.locals(at=Py_ssize_t, stop=Py_ssize_t, cookie=bytes)
cpdef tuple split(bytes data, Py_ssize_t end)

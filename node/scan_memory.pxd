cimport cython


@cython.no_gc
cdef class Told:
    cdef public long count
    cdef public double at


@cython.no_gc
cdef class Scanned:
    cdef public bytes handle
    cdef public tuple item
    cdef public str lot
    cdef public str state
    cdef public Told told


@cython.no_gc
@cython.freelist(1024)
cdef class Claim:
    cdef public Scanned of
    cdef public bytes nonce_mark
    cdef public bytes device_mark
    cdef public double at
    cdef public object place
    cdef public object registrant
    cdef public object scanner


cdef class ScanMemory:
    cdef public list later
    cdef public list first
    cdef public bint committing
    cdef public dict reads
    cdef public bint reading
    cdef public double read_at
    cdef public double committed_at
    cdef public dict known
    cdef public dict prefixes
    cdef public dict touched
    cdef public dict scored
    cdef public dict missed
    cdef public dict counts
    cdef public dict settled
    cdef public object worker
    cdef public object commits
    cdef public list own
    cdef public object others
    cdef public double sure_at
    cdef public double sure_from
    cdef public set tasks

    @cython.locals(told=Told)
    cpdef tell(self, dict counts)
    @cython.locals(later=list, taken=list, by_item=dict, claim=Claim, claims=list)
    cpdef take(self, whole=*)
    cpdef double right_at(self, double counted)

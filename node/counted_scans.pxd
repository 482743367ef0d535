cimport cython

from node.scan_memory cimport Claim, Scanned
from node.sketch cimport estimate, merged


@cython.no_gc
cdef class Addition:
    cdef public tuple item
    cdef public int shard
    cdef public object prefix
    cdef public int number
    cdef public str lot
    cdef public bint is_lot
    cdef public bint placed
    cdef public list claims

    @cython.locals(claim=Claim)
    cpdef bytes devices(self, bytes before=*)

@cython.locals(claim=Claim, of=Scanned, found=set)
cdef set _prefix_texts(claims)

@cython.locals(claim=Claim, first=double)
cdef double _begin(claims) except? -1

@cython.locals(claim=Claim, of=Scanned, nonces=set, given=list, again=list, firms=list, others=list, there=bint)
cdef _sorted_out(claims, dict by_text)

@cython.locals(claim=Claim, of=Scanned, addition=Addition, records=list, flags=int, after=long, found=dict)
cdef _additions(dict by_text, claims, set own, double begin)

@cython.locals(
    addition=Addition, counts=dict, before=tuple, after=tuple, place=tuple, shards=list, prefix_ids=list, suffixes=list,
    sketches=list, travelled=list, times=list, lats=list, lons=list,
)
cdef _judged(node, dict additions, stored, double started)

@cython.locals(devices=bytes)
cdef tuple _evidence(node, Addition addition, tuple before)

cdef _touch(node, Addition addition, count, early, tuple evidence)

@cython.locals(
    addition=Addition, claim=Claim, spot=tuple, prefix_ids=list, suffixes=list, places=list, sketches=list, times=list,
    lats=list, lons=list,
)
cdef tuple _columns(additions, known)

@cython.locals(addition=Addition, claim=Claim)
cdef _leave_out(additions, idle)

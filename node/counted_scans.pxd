cimport cython

from node.scan_memory cimport Claim, Scanned


cdef class Addition:
    cdef public tuple item
    cdef public int shard
    cdef public object prefix
    cdef public int number
    cdef public str lot
    cdef public bint is_lot
    cdef public list claims

    @cython.locals(claim=Claim)
    cpdef bytes devices(self, bytes before=*)

@cython.locals(claim=Claim, of=Scanned)
cdef _items(claims)

@cython.locals(claim=Claim, of=Scanned, nonces=set, given=list, again=list, firms=list, others=list, there=bint)
cdef _sorted_out(claims, dict places)

@cython.locals(claim=Claim, of=Scanned, addition=Addition, records=list, flags=int, after=long, found=dict)
cdef _additions(dict places, claims, set own, double begin)

@cython.locals(addition=Addition, counts=dict, changed=list, before=tuple, after=tuple)
cdef _judged(node, dict additions, stored, double started)

@cython.locals(devices=bytes)
cdef tuple _evidence(node, Addition addition, tuple before)

cdef _touch(node, Addition addition, count, early, tuple evidence)

cdef tuple _row(Addition addition, bint new)

@cython.locals(addition=Addition)
cdef _leave_out(additions, set idle)

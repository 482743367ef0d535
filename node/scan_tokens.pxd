cimport cython

from node.sealing cimport Sealer


cdef long long _DEVICE_LASTS


cdef class _Stamp:
    cdef unsigned int second
    cdef bytes begins


cdef _Stamp _stamp


cdef class Claims:
    cdef Sealer _sealer
    cdef bytes _end

    @cython.locals(spare=list, stamp=_Stamp, nonce=bytes)
    cpdef tuple sign(self, unsigned int second)


cdef bytes _signed(Sealer sealer, str label, bytes body)
cdef bytes _body(Sealer sealer, str label, bytes token)
@cython.locals(issued="long long")
cpdef read_device(Sealer sealer, bytes token, double now)
cdef _read(Sealer sealer, str label, bytes token, decoder)
cpdef bytes mark(Sealer sealer, bytes device, bytes handle)

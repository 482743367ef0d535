from node.sealing cimport Sealer


cdef class Claims:
    cdef Sealer _sealer
    cdef bytes _end

    cpdef tuple sign(self, unsigned int second)


cdef bytes _signed(Sealer sealer, str label, bytes body)
cdef bytes _body(Sealer sealer, str label, bytes token)
cpdef read_device(Sealer sealer, bytes token, double now)
cdef _read(Sealer sealer, str label, bytes token, decoder)
cpdef bytes mark(Sealer sealer, bytes device, bytes handle)

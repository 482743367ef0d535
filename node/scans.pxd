cimport cython

from node.scan_memory cimport Claim, Scanned, ScanMemory
from node.scan_tokens cimport mark, read_device
from node.sealing cimport Sealer


@cython.locals(sealer=Sealer, nonce_mark=bytes, device_mark=bytes)
cpdef accept_read(node, Scanned of, bytes nonce, bytes cookie, double now, place=*, registrant=*)

@cython.locals(memory=ScanMemory)
cdef _take(node, Claim claim)

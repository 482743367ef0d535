"""XXH64 and the shard it gives."""

cdef uint64_t P1 = 0x9E3779B185EBCA87ULL
cdef uint64_t P2 = 0xC2B2AE3D27D4EB4FULL
cdef uint64_t P3 = 0x165667B19E3779F9ULL
cdef uint64_t P4 = 0x85EBCA77C2B2AE63ULL
cdef uint64_t P5 = 0x27D4EB2F165667C5ULL


cdef inline uint64_t rotate(uint64_t v, int r) noexcept nogil:
    return (v << r) | (v >> (64 - r))


cdef inline uint64_t lane_round(uint64_t lane, uint64_t word) noexcept nogil:
    return rotate(lane + word * P2, 31) * P1


cdef inline uint64_t word64(const uint8_t* d) noexcept nogil:
    return (
        <uint64_t>d[0] | (<uint64_t>d[1] << 8) | (<uint64_t>d[2] << 16) | (<uint64_t>d[3] << 24)
        | (<uint64_t>d[4] << 32) | (<uint64_t>d[5] << 40) | (<uint64_t>d[6] << 48) | (<uint64_t>d[7] << 56)
    )


cdef uint64_t xxh64(const uint8_t* d, Py_ssize_t size) noexcept nogil:
    """XXH64 with seed 0; bytes are put together one by one, so the machine's byte order does not matter."""
    cdef Py_ssize_t at = 0
    cdef uint64_t mixed, a, b, c, e
    if size >= 32:
        a, b, c, e = P1 + P2, P2, 0, 0 - P1
        while at <= size - 32:
            a = lane_round(a, word64(d + at))
            b = lane_round(b, word64(d + at + 8))
            c = lane_round(c, word64(d + at + 16))
            e = lane_round(e, word64(d + at + 24))
            at += 32
        mixed = rotate(a, 1) + rotate(b, 7) + rotate(c, 12) + rotate(e, 18)
        mixed = (mixed ^ lane_round(0, a)) * P1 + P4
        mixed = (mixed ^ lane_round(0, b)) * P1 + P4
        mixed = (mixed ^ lane_round(0, c)) * P1 + P4
        mixed = (mixed ^ lane_round(0, e)) * P1 + P4
    else:
        mixed = P5
    mixed += <uint64_t>size
    while at <= size - 8:
        mixed = rotate(mixed ^ lane_round(0, word64(d + at)), 27) * P1 + P4
        at += 8
    if at <= size - 4:
        mixed ^= (
            <uint64_t>d[at] | (<uint64_t>d[at + 1] << 8) | (<uint64_t>d[at + 2] << 16) | (<uint64_t>d[at + 3] << 24)
        ) * P1
        mixed = rotate(mixed, 23) * P2 + P3
        at += 4
    while at < size:
        mixed = rotate(mixed ^ (d[at] * P5), 11) * P1
        at += 1
    mixed = (mixed ^ (mixed >> 33)) * P2
    mixed = (mixed ^ (mixed >> 29)) * P3
    return mixed ^ (mixed >> 32)


def hash64(bytes data) -> int:
    return xxh64(<const uint8_t*>PyBytes_AsString(data), PyBytes_Size(data))


cdef int64_t small(object number) noexcept:
    """A number of one machine word; -1 for any other and for what is none."""
    cdef int64_t value = PyLong_AsLongLong(number)
    if value == -1:
        PyErr_Clear()
    return value


cdef void check_layout(object home, object spread) except *:
    cdef int64_t first = small(home), width = small(spread)
    if not 0 <= first < SHARDS or not 1 <= width <= SHARDS or width & (width - 1):
        _shards.check_layout(home, spread)


def shard_of(suffix, home, spread) -> int:
    cdef Py_ssize_t size
    cdef const uint8_t* data = utf8(suffix, &size)
    cdef int64_t first = small(home), width = small(spread)
    if data == NULL or not 0 <= first < SHARDS or not 1 <= width <= SHARDS or width & (width - 1):
        return pure.shard_of(suffix, home, spread)
    if width == 1:
        return home
    return (<uint64_t>first + xxh64(data, size) % <uint64_t>width) % SHARDS


def shards_of(suffixes, home, spread):
    return [shard_of(suffix, home, spread) for suffix in suffixes]

# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The functions of pure.py, compiled. pure.py is the specification; tests hold the two equal."""

from cpython.unicode cimport PyUnicode_GetLength, PyUnicode_ReadChar, PyUnicode_Substring
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from handle_codec import pure
from handle_codec.pure import InvalidHandle

cdef extern from "Python.h":
    char* PyBytes_AsString(object)
    Py_ssize_t PyBytes_Size(object)

cdef enum:
    MAX_HANDLE = 255
    MAX_PREFIX = 64
    MAX_ISSUED = 200
    SHARDS = 1024

cdef uint64_t P1 = 0x9E3779B185EBCA87ULL
cdef uint64_t P2 = 0xC2B2AE3D27D4EB4FULL
cdef uint64_t P3 = 0x165667B19E3779F9ULL
cdef uint64_t P4 = 0x85EBCA77C2B2AE63ULL
cdef uint64_t P5 = 0x27D4EB2F165667C5ULL


cdef inline bint refused(Py_UCS4 c) noexcept nogil:
    """Controls, % ? #, zero-width and bidirectional characters, separators, surrogates: as pure._REFUSED."""
    if c < 0x80:
        return c < 0x20 or c == 0x7F or c == u'%' or c == u'?' or c == u'#'
    return (
        c <= 0x9F or c == 0xAD or c == 0x61C or c == 0x180E
        or 0x200B <= c <= 0x200F or 0x2028 <= c <= 0x202E or 0x2060 <= c <= 0x206F
        or c == 0xFEFF or 0xFFF9 <= c <= 0xFFFB or c == 0xFFFE or c == 0xFFFF or 0xD800 <= c <= 0xDFFF
    )


cdef inline bint issued(Py_UCS4 c) noexcept nogil:
    return (
        u'0' <= c <= u'9' or u'A' <= c <= u'Z' or u'a' <= c <= u'z' or c == u'.' or c == u'_' or c == u'-'
    )


cdef Py_ssize_t read(str text, Py_UCS4* into) except -1:
    """Copy at most 255 characters; the length of the text, InvalidHandle where it is longer."""
    cdef Py_ssize_t size = PyUnicode_GetLength(text)
    cdef Py_ssize_t i
    if size > MAX_HANDLE:
        raise InvalidHandle("too_long", MAX_HANDLE)
    for i in range(size):
        into[i] = PyUnicode_ReadChar(text, i)
    return size


cdef bint prefix_form(const Py_UCS4* c, Py_ssize_t size) noexcept nogil:
    """[0-9]{2}\\.[0-9]{3,5}\\.[0-9]{1,128}, the whole of it."""
    cdef Py_ssize_t i, dots = 0, run = 0
    for i in range(size):
        if u'0' <= c[i] <= u'9':
            run += 1
        elif c[i] == u'.':
            if dots == 0 and run != 2:
                return False
            if dots == 1 and (run < 3 or run > 5):
                return False
            dots += 1
            run = 0
            if dots > 2:
                return False
        else:
            return False
    return dots == 2 and 1 <= run <= 128


cdef Py_ssize_t split(const Py_UCS4* c, Py_ssize_t size) except -1:
    """Where the first slash is, of a handle that is right; InvalidHandle in the order of pure.parse."""
    cdef Py_ssize_t slash = 0, i, start
    while slash < size and c[slash] != u'/':
        slash += 1
    if slash == size:
        raise InvalidHandle("no_slash", size)
    if slash > MAX_PREFIX:
        raise InvalidHandle("prefix_length", MAX_PREFIX)
    if not prefix_form(c, slash):
        raise InvalidHandle("prefix_form", 0)
    if slash + 1 == size:
        raise InvalidHandle("empty_suffix", slash + 1)
    for i in range(slash + 1, size):
        if refused(c[i]):
            raise InvalidHandle("character", i)
    start = slash + 1
    for i in range(slash + 1, size + 1):
        if i == size or c[i] == u'/':
            if i == start or (c[start] == u'.' and (i == start + 1 or (i == start + 2 and c[start + 1] == u'.'))):
                raise InvalidHandle("segment", start)
            start = i + 1
    return slash


def is_prefix(str text) -> bool:
    cdef Py_UCS4[MAX_PREFIX] c
    cdef Py_ssize_t size = PyUnicode_GetLength(text), i
    if size > MAX_PREFIX:
        return False
    for i in range(size):
        c[i] = PyUnicode_ReadChar(text, i)
    return prefix_form(c, size)


def parse(str text):
    cdef Py_UCS4[MAX_HANDLE] c
    cdef Py_ssize_t size = read(text, c)
    cdef Py_ssize_t slash = split(c, size)
    return PyUnicode_Substring(text, 0, slash), PyUnicode_Substring(text, slash + 1, size)


def parse_issued(str text):
    cdef Py_UCS4[MAX_HANDLE] c
    cdef Py_ssize_t size = read(text, c)
    cdef Py_ssize_t slash = split(c, size)
    cdef Py_ssize_t i
    cdef str prefix, suffix
    for i in range(slash + 1, size):
        if not issued(c[i]):
            raise InvalidHandle("not_issued", i)
    if size - slash - 1 > MAX_ISSUED:
        raise InvalidHandle("suffix_length", slash + MAX_ISSUED + 1)
    prefix = PyUnicode_Substring(text, 0, slash)
    suffix = PyUnicode_Substring(text, slash + 1, size)
    # Reserved suffixes begin with m, a, u or a digit: the others need no second look.
    if c[slash + 1] in (u'm', u'M', u'a', u'A', u'u', u'U') or u'0' <= c[slash + 1] <= u'9':
        if pure.is_reserved(prefix, suffix):
            raise InvalidHandle("reserved", slash + 1)
    return prefix, suffix


def is_reserved(str prefix, str suffix) -> bool:
    return pure.is_reserved(prefix, suffix)


def normalise(str text, frozenset hosts=frozenset()):
    return pure.normalise(text, hosts)


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


cdef void check_layout(object home, object spread) except *:
    if not 0 <= home < SHARDS or not 1 <= spread <= SHARDS or spread & (spread - 1):
        raise ValueError(f"home {home} or spread {spread} is out of range")


def shard_of(str suffix, home, spread) -> int:
    cdef bytes data
    check_layout(home, spread)
    if spread == 1:
        return home
    data = suffix.encode()
    return (home + xxh64(<const uint8_t*>PyBytes_AsString(data), PyBytes_Size(data)) % <uint64_t>spread) % SHARDS


def shards_of(suffixes, home, spread):
    return [shard_of(suffix, home, spread) for suffix in suffixes]

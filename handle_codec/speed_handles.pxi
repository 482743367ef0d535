"""Handles in ASCII, which nearly all are; the others are read by `pure`."""

# What a byte of a handle's suffix may be, filled once: bit 0 in any suffix, bit 1 in an issued one.
cdef enum:
    ANY = 1
    ISSUED = 2

cdef uint8_t[256] CLASS


cdef inline bint issued(int c) noexcept nogil:
    return c'0' <= c <= c'9' or c'A' <= c <= c'Z' or c'a' <= c <= c'z' or c == c'.' or c == c'_' or c == c'-'


def _fill_classes():
    cdef int c
    for c in range(256):
        CLASS[c] = 0
        if 0x20 <= c < 0x7F and c != c'%' and c != c'?' and c != c'#':
            CLASS[c] = ANY | ISSUED if issued(c) else ANY


_fill_classes()


cdef inline bint is_digit(uint8_t c) noexcept nogil:
    return c'0' <= c <= c'9'


cdef Py_ssize_t prefix_end(const uint8_t* s, Py_ssize_t size) noexcept nogil:
    """Where [0-9]{2}\\.[0-9]{3,5}\\.[0-9]+ at the beginning ends; -1 where it is not there or over 64 long."""
    cdef Py_ssize_t i = 3, start
    if size < 8 or not (is_digit(s[0]) and is_digit(s[1]) and s[2] == c'.'):
        return -1
    while i < size and is_digit(s[i]):
        i += 1
    if i < 6 or i > 8 or i == size or s[i] != c'.':
        return -1
    i += 1
    start = i
    while i < size and is_digit(s[i]):
        i += 1
    return i if start < i <= MAX_PREFIX else -1


cdef Py_ssize_t split_ascii(const uint8_t* s, Py_ssize_t size, bint only_issued) noexcept nogil:
    """Where the slash of a right handle in ASCII is; -1 where it is for `pure` to say."""
    cdef Py_ssize_t slash = prefix_end(s, size), start, i
    cdef uint8_t wanted = ISSUED if only_issued else ANY
    if size > MAX_HANDLE or slash < 0 or slash + 1 >= size or s[slash] != c'/':
        return -1
    start = slash + 1
    for i in range(start, size):
        if not CLASS[s[i]] & wanted:
            return -1
        if s[i] == c'/':
            if dotted(s, start, i):
                return -1
            start = i + 1
    if dotted(s, start, size):
        return -1
    if only_issued and (size - slash - 1 > MAX_ISSUED or reserved(s, slash, size)):
        return -1
    return slash


cdef inline bint dotted(const uint8_t* s, Py_ssize_t start, Py_ssize_t end) noexcept nogil:
    """Whether a segment is empty, "." or ".."."""
    return end == start or (s[start] == u'.' and (end == start + 1 or (end == start + 2 and s[start + 1] == u'.')))


cdef bint reserved(const uint8_t* s, Py_ssize_t slash, Py_ssize_t end) noexcept nogil:
    """As pure.is_reserved, for a suffix in ASCII."""
    cdef const uint8_t* p = s + slash + 1
    cdef Py_ssize_t size = end - slash - 1
    cdef uint8_t first = p[0] | 0x20
    if first == u'm':
        return size >= 5 and folds_to(p, b"meta_", 5)
    if first == u'a':
        return (size >= 4 and folds_to(p, b"app_", 4)) or (size == 5 and folds_to(p, b"admin", 5))
    if first == u'u':
        return size >= 5 and folds_to(p, b"user_", 5)
    if size == 3 and memcmp(p, b"0.0", 3) == 0:
        return True
    return size == slash and memcmp(p, s, size) == 0


cdef bint folds_to(const uint8_t* p, const char* lower, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(size):
        if (p[i] | 0x20 if u'A' <= p[i] <= u'Z' else p[i]) != <uint8_t>lower[i]:
            return False
    return True


def is_prefix(text) -> bool:
    cdef Py_ssize_t size
    cdef const uint8_t* s = utf8(text, &size)
    return prefix_end(s, size) == size if s != NULL else pure.is_prefix(text)


cdef tuple halves_of(object text, Py_ssize_t slash, Py_ssize_t size):
    return PyUnicode_Substring(text, 0, slash), PyUnicode_Substring(text, slash + 1, size)


def parse(text):
    cdef Py_ssize_t size
    cdef const uint8_t* s = utf8(text, &size)
    cdef Py_ssize_t slash = -1 if s == NULL else split_ascii(s, size, False)
    return pure.parse(text) if slash < 0 else halves_of(text, slash, size)


def parse_issued(text):
    cdef Py_ssize_t size
    cdef const uint8_t* s = utf8(text, &size)
    cdef Py_ssize_t slash = -1 if s == NULL else split_ascii(s, size, True)
    return pure.parse_issued(text) if slash < 0 else halves_of(text, slash, size)


def is_reserved(prefix, suffix) -> bool:
    return pure.is_reserved(prefix, suffix)


def normalise(text, frozenset hosts=frozenset()):
    """What parses and has no blank behind it is as it should be; the rest is mended by the specification."""
    cdef Py_ssize_t size
    cdef const uint8_t* data = utf8(text, &size)
    if data != NULL and size and data[size - 1] != u' ' and split_ascii(data, size, False) >= 0:
        return text
    return pure.normalise(text, hosts)

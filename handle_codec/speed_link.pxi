"""GS1 Digital Link addresses without escapes."""

cdef enum:
    MOST_SEGMENTS = 32

cdef uint8_t[256] HOST
cdef uint8_t[256] URI


def _fill_addresses():
    cdef int i
    for i in range(256):
        c = chr(i)
        HOST[i] = i < 128 and (c.isalnum() or c in "-._~:[]")
        URI[i] = i < 128 and c != "%" and not _gs1.NOT_URI.search(c)


_fill_addresses()


def parse_digital_link(text):
    cdef Py_ssize_t size
    cdef const uint8_t* s = utf8(text, &size)
    cdef Element[MOST_ELEMENTS] elements
    cdef int count = 0
    if s != NULL and 12 < size <= MAX_TEXT and read_link(s, size, elements, &count):
        return pairs_of(elements, count)
    return pure.parse_digital_link(text)


cdef bint read_link(const uint8_t* s, Py_ssize_t size, Element* elements, int* count) noexcept nogil:
    cdef Py_ssize_t[MOST_SEGMENTS] starts
    cdef Py_ssize_t[MOST_SEGMENTS] ends
    cdef Py_ssize_t at = 7
    cdef int segments = 0, pair, ai, key, rank = 0
    if memcmp(s, b"https://", 8) == 0:
        at = 8
    elif memcmp(s, b"http://", 7) != 0:
        return False
    if s[at] == c'/':
        return False
    while at < size and HOST[s[at]]:
        at += 1
    if at == size or s[at] != c'/':
        return False
    while at < size and s[at] == c'/':
        if segments == MOST_SEGMENTS:
            return False
        at += 1
        starts[segments] = at
        while at < size and s[at] != c'/' and s[at] != c'?':
            if not URI[s[at]] or s[at] == c'#':
                return False
            at += 1
        ends[segments] = at
        segments += 1
    pair = segments - 2  # from the end, pair by pair, to the last key
    while True:
        if pair < 0:
            return False
        key = ai_of(s + starts[pair], ends[pair] - starts[pair])
        if key < 0:
            return False
        if IS_KEY[key]:
            break
        pair -= 2
    while pair < segments:
        ai = ai_of(s + starts[pair], ends[pair] - starts[pair])
        if count[0]:
            if RANK[key][ai] <= rank:
                return False
            rank = RANK[key][ai]
        if not add(elements, count, ai, s + starts[pair + 1], ends[pair + 1] - starts[pair + 1], True):
            return False
        pair += 2
    return at == size or read_query(s, at + 1, size, key, elements, count)


cdef bint read_query(
    const uint8_t* s, Py_ssize_t at, Py_ssize_t size, int key, Element* elements, int* count
) noexcept nogil:
    cdef Py_ssize_t end, equals
    cdef int ai
    while at < size:
        end = at
        equals = -1
        while end < size and s[end] != c'&':
            if not URI[s[end]] or s[end] == c'#' or s[end] == c'+':
                return False
            if s[end] == c'=' and equals < 0:
                equals = end
            end += 1
        if equals > at and is_digit(s[at]):
            ai = ai_of(s + at, equals - at)
            if ai < 0 or not ATTRIBUTE[ai] or RANK[key][ai]:
                return False
            if not add(elements, count, ai, s + equals + 1, end - equals - 1, True):
                return False
        at = end + 1
    return True

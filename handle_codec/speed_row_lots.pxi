"""What is asked of a chunk before its rows are read."""

cdef enum:
    MOST_LOT = 300


cdef struct Named:  # the member as it stood in the last line that had one
    const uint8_t* s
    Py_ssize_t size
    Py_ssize_t at  # within its line
    Text text


cdef inline Py_ssize_t blanks_end(const uint8_t* s, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    while at < end and (s[at] == c' ' or c'\t' <= s[at] <= c'\r'):
        at += 1
    return at


cdef bint names_lot(const uint8_t* s, Py_ssize_t at, Py_ssize_t end, Named* named) noexcept nogil:
    """Whether the quote at `at` begins a lot's member, which is then noted."""
    cdef Py_ssize_t start = at
    if end - at < 5 or memcmp(s + at, b'"lot"', 5) != 0:
        return False
    at = blanks_end(s, at + 5, end)
    if at >= end or s[at] != c':':
        return False
    at = blanks_end(s, at + 1, end)
    if at >= end or s[at] != c'"':
        return False
    at += 1
    named.text.s = s + at
    while at < end and s[at] != c'"' and s[at] != c'\\':
        at += 1
    named.text.size = s + at - named.text.s
    if at >= end or s[at] != c'"' or not 1 <= named.text.size <= MOST_LOT:
        return False
    named.s, named.size = s + start, at + 1 - start
    return True


cdef bint find_lot(const uint8_t* s, Py_ssize_t size, Py_ssize_t* line, Named* named) noexcept nogil:
    """Go on from the line at `line` to the first that names another lot; it then stands behind that."""
    cdef const uint8_t* found
    cdef Py_ssize_t start, end, at
    while line[0] < size:
        start = line[0]
        found = <const uint8_t*>memchr(s + start, c'\n', size - start)
        end = size if found == NULL else found - s
        line[0] = end + 1
        at = start + named.at
        if named.size and end - at >= named.size and memcmp(s + at, named.s, named.size) == 0:
            continue
        at = start
        while at < end:
            found = <const uint8_t*>memchr(s + at, c'"', end - at)
            if found == NULL:
                break
            at = found - s
            if names_lot(s, at, end, named):
                named.at = at - start
                return True
            at += 1
    return False


def line_count(bytes data):
    return count_lines(<const uint8_t*>PyBytes_AsString(data), PyBytes_Size(data))


def lots_named(bytes data):
    cdef const uint8_t* s = <const uint8_t*>PyBytes_AsString(data)
    cdef Py_ssize_t size = PyBytes_Size(data), line = 0
    cdef Named named
    cdef bint more = True
    named.s, named.size, named.at = s, 0, 0
    found = []
    while more:
        with nogil:
            more = find_lot(s, size, &line, &named)
        if more:
            found.append(PyBytes_FromStringAndSize(<const char*>named.text.s, named.text.size))
    return found

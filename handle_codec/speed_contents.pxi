"""Content to its stored form, as pure/contents.py: a walk over the JSON, which writes as it goes."""

cdef enum:
    NAME_SLOTS = 512  # more than twice the most names: a search ends soon
    HEAD_SIZE = 15

cdef const uint8_t* CONTENT_HEAD = b'{"attributes":{'
cdef bytes NAME_BYTES = b"".join([b'"%s":' % name.encode() for name in _NAMES])
cdef const uint8_t* NAME_TEXT = <const uint8_t*>PyBytes_AsString(NAME_BYTES)
cdef uint32_t[256] NAME_AT  # of '"name":' by number from 1
cdef uint32_t[256] NAME_SIZE
cdef uint8_t[512] NAME_FOUND  # numbers by hash; 0: free
cdef uint32_t NAME_COUNT = len(_NAMES)


cdef inline uint32_t name_slot(const uint8_t* s, Py_ssize_t size) noexcept nogil:
    """A hash of size, first and last four bytes: a walk over all of them took a third of the time of a name."""
    cdef uint32_t first = 0, last = 0, h
    cdef Py_ssize_t some = min(size, <Py_ssize_t>4)
    memcpy(&first, s, some)
    memcpy(&last, s + size - some, some)
    h = first * <uint32_t>2654435761 ^ last * <uint32_t>2246822519 ^ <uint32_t>size * <uint32_t>3266489917
    return (h ^ h >> 15 ^ h >> 23) & (NAME_SLOTS - 1)


def _fill_names():
    cdef uint32_t at = 0, slot
    cdef int number
    for number, name in enumerate(_NAMES, 1):
        NAME_AT[number], NAME_SIZE[number] = at, len(name.encode()) + 3
        slot = name_slot(NAME_TEXT + at + 1, NAME_SIZE[number] - 3)
        while NAME_FOUND[slot]:
            slot = (slot + 1) & (NAME_SLOTS - 1)
        NAME_FOUND[slot] = number
        at += NAME_SIZE[number]


_fill_names()


cdef Py_ssize_t put_name(uint8_t* into, Py_ssize_t used, Py_ssize_t room, const uint8_t* s, Py_ssize_t size) noexcept nogil:
    """Bytes used behind the name; -1: no room, or it is too long."""
    cdef uint32_t slot = name_slot(s, size)
    cdef uint8_t number = NAME_FOUND[slot]
    while number:
        if NAME_SIZE[number] - 3 == size and memcmp(NAME_TEXT + NAME_AT[number] + 1, s, size) == 0:
            if used >= room:
                return -1
            into[used] = number
            return used + 1
        slot = (slot + 1) & (NAME_SLOTS - 1)
        number = NAME_FOUND[slot]
    if size > 255 or room - used < size + 2:
        return -1
    into[used], into[used + 1] = 0xFF, <uint8_t>size
    memcpy(into + used + 2, s, size)
    return used + 2 + size


cdef Py_ssize_t json_end(const uint8_t* s, Py_ssize_t at, Py_ssize_t size) noexcept nogil:
    """Where any JSON value that begins at `at` ends; -1: nowhere."""
    cdef Py_ssize_t depth = 0
    while at < size:
        if s[at] == c'"':
            at += 1
            while at < size and s[at] != c'"':
                at += 2 if s[at] == c'\\' else 1
            if at >= size:
                return -1
            if depth == 0:
                return at + 1
        elif s[at] == c'{' or s[at] == c'[':
            depth += 1
        elif s[at] == c'}' or s[at] == c']':
            if depth <= 1:
                return at + depth
            depth -= 1
        elif depth == 0 and s[at] == c',':
            return at
        at += 1
    return -1


cdef Py_ssize_t number_units(
    const uint8_t* s, Py_ssize_t at, Py_ssize_t size, uint64_t* units, uint32_t* places
) noexcept nogil:
    """Where the number at `at` ends whose digits are below 2^32 and whose text follows from them; -1: another value."""
    cdef Py_ssize_t start = at, point
    cdef uint64_t found = 0
    while at < size and is_digit(s[at]) and at - start < 10 and not (at > start and s[start] == c'0'):
        found = found * 10 + (s[at] - c'0')
        at += 1
    if at == start or at >= size:
        return -1
    places[0] = 0
    if s[at] == c'.':
        at += 1
        point = at
        while at < size and is_digit(s[at]) and at - point < 7:
            found = found * 10 + (s[at] - c'0')
            at += 1
        if at == point or at >= size:
            return -1
        places[0] = <uint32_t>(at - point)
    units[0] = found
    return at if found >> 32 == 0 and (s[at] == c',' or s[at] == c'}') else -1


cdef Py_ssize_t put_number(
    uint8_t* into, Py_ssize_t used, Py_ssize_t room, uint64_t units, uint32_t places
) noexcept nogil:
    cdef int size = 1 if units < 0x100 else 2 if units < 0x10000 else 3 if units < 0x1000000 else 4, i
    if room - used < 1 + size:
        return -1
    into[used] = <uint8_t>(0xC0 | places << 2 | <uint32_t>(size - 1))
    for i in range(size):
        into[used + 1 + i] = <uint8_t>(units >> (8 * (size - 1 - i)))
    return used + 1 + size


cdef Py_ssize_t put_value(
    uint8_t* into, Py_ssize_t used, Py_ssize_t room, const uint8_t* s, Py_ssize_t* at, Py_ssize_t size
) noexcept nogil:
    """Bytes used behind the value's short form, `at` moved behind the value; -1: there is none."""
    cdef Py_ssize_t start = at[0], end = -1, length
    cdef uint64_t units = 0
    cdef uint32_t places = 0
    if start < size and s[start] == c'"':
        start += 1
        end = string_end(s, start, size)
        if 0 <= end <= start + 127:
            at[0], length = end + 1, end - start
            if room - used < length + 1:
                return -1
            into[used] = <uint8_t>length
            memcpy(into + used + 1, s + start, length)
            return used + 1 + length
        start -= 1
    end = number_units(s, start, size, &units, &places)
    if end >= 0:
        at[0] = end
        return put_number(into, used, room, units, places)
    end = json_end(s, start, size)
    length = end - start
    if end < 0 or length > 0xFFFF or room - used < length + 3:
        return -1
    at[0] = end
    if length < 64:
        into[used] = <uint8_t>(0x80 + length)
        used += 1
    else:
        into[used], into[used + 1], into[used + 2] = 0xFE, <uint8_t>(length >> 8), <uint8_t>length
        used += 3
    memcpy(into + used, s + start, length)
    return used + length


cdef Py_ssize_t put_short(uint8_t* into, const uint8_t* s, Py_ssize_t size) noexcept nogil:
    """The size of the content's stored form, which is written; -1: the content itself. `into` holds `size` bytes."""
    cdef Py_ssize_t at = HEAD_SIZE, used = 1, close, room = size
    if size < HEAD_SIZE or memcmp(s, CONTENT_HEAD, HEAD_SIZE) != 0:
        return -1
    into[0] = 1
    while at < size and not (s[at] == c'}' and at == HEAD_SIZE):
        close = string_end(s, at + 1, size) if s[at] == c'"' else -1
        if close < 0 or close + 1 >= size or s[close + 1] != c':':
            return -1
        used = put_name(into, used, room, s + at + 1, close - at - 1)
        at = close + 2
        if used >= 0:
            used = put_value(into, used, room, s, &at, size)
        if used < 0 or at >= size or (s[at] != c'}' and s[at] != c','):
            return -1
        if s[at] == c'}':
            break
        at += 1
    if at >= size:
        return -1
    at += 1
    if size - at != 1 or s[at] != c'}':
        if room - used < size - at + 1:
            return -1
        into[used] = 0
        memcpy(into + used + 1, s + at, size - at)
        used += size - at + 1
    return used if used < size else -1


def shorten_content(bytes content):
    cdef Py_ssize_t size = PyBytes_Size(content), used
    cdef const uint8_t* s = <const uint8_t*>PyBytes_AsString(content)
    cdef bytes made
    cdef uint8_t[256] small
    if size <= 256:
        used = put_short(small, s, size)
        return content if used < 0 else PyBytes_FromStringAndSize(<const char*>small, used)
    made = PyBytes_FromStringAndSize(NULL, size)
    used = put_short(<uint8_t*>PyBytes_AsString(made), s, size)
    return content if used < 0 else made[:used]

"""Stored content to JSON, as pure/contents.py: a walk that counts, then one that writes."""


cdef inline Py_ssize_t put_plain(uint8_t* into, Py_ssize_t used, const uint8_t* s, Py_ssize_t size) noexcept nogil:
    """Bytes used behind these; without `into` they are only counted."""
    if into != NULL:
        memcpy(into + used, s, size)
    return used + size


cdef Py_ssize_t put_digits(uint8_t* into, Py_ssize_t used, uint32_t units, uint32_t places) noexcept nogil:
    cdef uint8_t[16] text
    cdef uint32_t at = 16, written = 0
    while units or written <= places:
        if places and written == places:
            at -= 1
            text[at] = c'.'
        at -= 1
        text[at] = <uint8_t>(c'0' + units % 10)
        units //= 10
        written += 1
    return put_plain(into, used, text + at, 16 - at)


cdef Py_ssize_t put_json(
    uint8_t* into, Py_ssize_t used, const uint8_t* s, Py_ssize_t* at, Py_ssize_t size
) noexcept nogil:
    """Bytes used behind the value as JSON, `at` moved behind its stored form; -1: it cannot be read."""
    cdef Py_ssize_t length
    cdef uint32_t units = 0, i
    cdef uint8_t head
    if at[0] >= size:
        return -1
    head = s[at[0]]
    at[0] += 1
    if head >= 0xC0 and head < 0xE0:
        length = (head & 3) + 1
        if size - at[0] < length:
            return -1
        for i in range(length):
            units = units << 8 | s[at[0] + i]
        at[0] += length
        return put_digits(into, used, units, head >> 2 & 7)
    if head < 0x80:
        length = head
    elif head < 0xC0:
        length = head - 0x80
    elif head == 0xFE and size - at[0] >= 2:
        length = s[at[0]] << 8 | s[at[0] + 1]
        at[0] += 2
    else:
        return -1
    if size - at[0] < length:
        return -1
    if head < 0x80:
        used = put_plain(into, used, <const uint8_t*>b'"', 1)
    used = put_plain(into, used, s + at[0], length)
    if head < 0x80:
        used = put_plain(into, used, <const uint8_t*>b'"', 1)
    at[0] += length
    return used


cdef Py_ssize_t put_long(uint8_t* into, const uint8_t* s, Py_ssize_t size) noexcept nogil:
    """The size of the content's JSON, which is written where `into` is not NULL; -1: it cannot be read."""
    cdef Py_ssize_t at = 1, used = put_plain(into, 0, CONTENT_HEAD, HEAD_SIZE), length
    cdef uint8_t number
    while at < size and s[at] != 0:
        if at > 1:
            used = put_plain(into, used, <const uint8_t*>b",", 1)
        number = s[at]
        at += 1
        if number <= NAME_COUNT:
            used = put_plain(into, used, NAME_TEXT + NAME_AT[number], NAME_SIZE[number])
        elif number == 0xFF and at < size and size - at - 1 >= s[at]:
            length = s[at]
            used = put_plain(into, used, <const uint8_t*>b'"', 1)
            used = put_plain(into, used, s + at + 1, length)
            used = put_plain(into, used, <const uint8_t*>b'":', 2)
            at += 1 + length
        else:
            return -1
        used = put_json(into, used, s, &at, size)
        if used < 0:
            return -1
    used = put_plain(into, used, <const uint8_t*>b"}", 1)
    if at < size:
        return put_plain(into, used, s + at + 1, size - at - 1)
    return put_plain(into, used, <const uint8_t*>b"}", 1)


def restore_content(bytes stored):
    cdef Py_ssize_t size = PyBytes_Size(stored), found
    cdef const uint8_t* s = <const uint8_t*>PyBytes_AsString(stored)
    cdef bytes made
    if size == 0 or s[0] == c'{':
        return stored
    found = put_long(NULL, s, size) if s[0] == 1 else -1
    if found < 0:
        return _contents.restore_content(stored)  # which says why it cannot be read
    made = PyBytes_FromStringAndSize(NULL, found)
    put_long(<uint8_t*>PyBytes_AsString(made), s, size)
    return made

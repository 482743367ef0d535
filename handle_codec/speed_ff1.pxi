"""The rounds of minted serials. The cipher is the caller's (OpenSSL's), one call a round and chunk; the rest is here."""

cdef enum:
    CHUNK = 4096
    BLOCK = 16
    LINE = 15

cdef uint8_t[32] ALPHABET
cdef int8_t[256] VALUE
cdef uint8_t[256] FAMILY


def _fill_alphabet():
    cdef int i
    for i in range(32):
        ALPHABET[i] = _ff1.ALPHABET[i]
    for i in range(256):
        VALUE[i] = _ff1.VALUES.get(chr(i), -1)
        FAMILY[i] = i < 128 and chr(i).upper() in _ff1.LETTERS


_fill_alphabet()


cdef bint minted_form(const uint8_t* s, Py_ssize_t size) noexcept nogil:
    """As pure.is_serial, of UTF-8: no byte of another character has a value."""
    cdef Py_ssize_t i
    if size != 14 or not FAMILY[s[0]]:
        return False
    for i in range(1, 14):
        if VALUE[s[i]] < 0:
            return False
    return True


def is_serial(suffix) -> bool:
    cdef Py_ssize_t size
    cdef const uint8_t* s = utf8(suffix, &size)
    return minted_form(s, size) if s != NULL else pure.is_serial(suffix)


def fold_serial(suffix):
    cdef Py_ssize_t size
    cdef const uint8_t* s = utf8(suffix, &size)
    cdef char[14] folded
    cdef int i
    if s == NULL or not minted_form(s, size):
        return pure.fold_serial(suffix) if s == NULL else suffix
    folded[0] = s[0] & 0xDF
    for i in range(1, 14):
        folded[i] = ALPHABET[VALUE[s[i]]]
    return PyUnicode_FromStringAndSize(folded, 14)


cdef struct Halves:
    uint64_t a
    uint64_t b


cdef void fill_heads(uint8_t* blocks, Py_ssize_t count, const uint8_t* mask) noexcept nogil:
    """The first ten bytes of a block never change."""
    cdef Py_ssize_t j
    for j in range(count):
        memcpy(blocks + j * BLOCK, mask, BLOCK)


cdef void fill_tails(
    uint8_t* blocks, Py_ssize_t count, const uint8_t* mask, int i, const Halves* halves, bint backwards
) noexcept nogil:
    cdef Py_ssize_t j
    cdef uint64_t half
    cdef uint8_t* p = blocks + 10
    for j in range(count):
        half = halves[j].a if backwards else halves[j].b
        p[0] = mask[10] ^ <uint8_t>i
        p[1] = mask[11] ^ <uint8_t>(half >> 32)
        p[2] = mask[12] ^ <uint8_t>(half >> 24)
        p[3] = mask[13] ^ <uint8_t>(half >> 16)
        p[4] = mask[14] ^ <uint8_t>(half >> 8)
        p[5] = mask[15] ^ <uint8_t>half
        p += BLOCK


cdef void turn(const uint8_t* pads, Py_ssize_t count, int i, Halves* halves, bint backwards) noexcept nogil:
    """One round: the low 40 bits of the first 12 bytes of each pad, modulo the width of the half."""
    cdef Py_ssize_t j
    cdef uint64_t keep = 0x7FFFFFFFF if i % 2 else 0x3FFFFFFF
    cdef uint64_t pad, made
    cdef const uint8_t* p = pads + 7
    for j in range(count):
        pad = (<uint64_t>p[0] << 32) | (<uint64_t>p[1] << 24) | (<uint64_t>p[2] << 16) | (<uint64_t>p[3] << 8) | p[4]
        if backwards:
            made = (halves[j].b - pad) & keep
            halves[j].b = halves[j].a
            halves[j].a = made
        else:
            made = (halves[j].a + pad) & keep
            halves[j].a = halves[j].b
            halves[j].b = made
        p += BLOCK


cdef int feistel(update_into, const uint8_t* mask, Halves* halves, Py_ssize_t count, bint backwards) except -1:
    cdef bytearray blocks = bytearray(count * BLOCK)
    cdef bytearray pads = bytearray(count * BLOCK + BLOCK - 1)
    cdef uint8_t* into = <uint8_t*>PyByteArray_AsString(blocks)
    cdef const uint8_t* made = <const uint8_t*>PyByteArray_AsString(pads)
    cdef int step, i
    fill_heads(into, count, mask)
    for step in range(10):
        i = 9 - step if backwards else step
        fill_tails(into, count, mask, i, halves, backwards)
        update_into(blocks, pads)
        turn(made, count, i, halves, backwards)
    return 0


cdef const uint8_t* mask_of(bytes mask) except NULL:
    if PyBytes_Size(mask) != BLOCK:
        raise ValueError("a mask has 16 bytes")
    return <const uint8_t*>PyBytes_AsString(mask)


def mint_lines(update_into, bytes mask, int letter, first, count):
    cdef Halves[CHUNK] halves
    cdef const uint8_t* constant = mask_of(mask)
    cdef uint64_t counter
    cdef Py_ssize_t left, part, j
    cdef bytes lines
    cdef uint8_t* line
    if not (0 <= first and 0 <= count and first + count <= _ff1.COUNTERS):
        raise ValueError(f"counters are 0 to {_ff1.COUNTERS - 1}")
    counter, left = first, count
    lines = PyBytes_FromStringAndSize(NULL, left * LINE)
    line = <uint8_t*>PyBytes_AsString(lines)
    while left:
        part = min(left, CHUNK)
        for j in range(part):
            halves[j].a = counter >> 35
            halves[j].b = counter & 0x7FFFFFFFF
            counter += 1
        feistel(update_into, constant, halves, part, False)
        for j in range(part):
            line[0] = <uint8_t>letter
            write_digits(line + 1, halves[j].a, 6)
            write_digits(line + 7, halves[j].b, 7)
            line[14] = c'\n'
            line += LINE
        left -= part
    return lines


cdef inline void write_digits(uint8_t* into, uint64_t number, int size) noexcept nogil:
    cdef int i
    for i in range(size - 1, -1, -1):
        into[i] = ALPHABET[number & 31]
        number >>= 5


cdef bint read_digits(const uint8_t* s, Halves* into) noexcept nogil:
    """The 13 digits behind the letter; False where one is none."""
    cdef int i
    cdef int8_t value
    into.a = into.b = 0
    for i in range(1, 14):
        value = VALUE[s[i]]
        if value < 0:
            return False
        if i < 7:
            into.a = into.a << 5 | <uint64_t>value
        else:
            into.b = into.b << 5 | <uint64_t>value
    return True


cdef inline int64_t counter_in(const Halves* halves) noexcept nogil:
    return -1 if halves.a >> 5 else <int64_t>(halves.a << 35 | halves.b)


def open_serial(update_into, bytes mask, serial):
    cdef Py_ssize_t size
    cdef const uint8_t* s = utf8(serial, &size)
    cdef Halves halves
    if s == NULL or size != 14 or not read_digits(s, &halves):
        return pure.open_serial(update_into, mask, serial)
    feistel(update_into, mask_of(mask), &halves, 1, True)
    return counter_in(&halves)


def open_lines(update_into, bytes mask, int letter, bytes buffer):
    cdef Halves[CHUNK] halves
    cdef uint8_t[CHUNK] right
    cdef const uint8_t* constant = mask_of(mask)
    cdef const uint8_t* s = <const uint8_t*>PyBytes_AsString(buffer)
    cdef const uint8_t* found
    cdef Py_ssize_t size = PyBytes_Size(buffer), at = 0, end, part, j
    cdef list counters = []
    while at < size:
        part = 0
        while part < CHUNK and at < size:
            found = <const uint8_t*>memchr(s + at, c'\n', size - at)
            end = size if found == NULL else found - s
            right[part] = end - at == 14 and s[at] | 0x20 == letter | 0x20 and read_digits(s + at, &halves[part])
            if not right[part]:
                halves[part].a = halves[part].b = 0
            part += 1
            at = end + 1
        feistel(update_into, constant, halves, part, True)
        for j in range(part):
            counters.append(counter_in(&halves[j]) if right[j] else -1)
    return counters

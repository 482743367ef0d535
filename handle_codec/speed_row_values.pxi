"""Single values of rows, as pure/row_values.py: where a value ends, -1 where it is not certainly right."""

cdef enum:
    KIND_TEXT = 1
    KIND_NUMBER = 2
    KIND_INTEGER = 3
    KIND_BOOL = 4
    KIND_ENUM = 5
    KIND_DAY = 6
    KIND_MOMENT = 7
    KIND_FILE = 8
    KIND_REFERENCE = 9
    KIND_DRUG20 = 10
    KIND_IMEI = 11
    KIND_GTIN = 12
    NUMBER_DIGITS = 15
    NUMBER_PLACES = 6

cdef struct Span:
    uint32_t at
    uint32_t size

cdef struct FieldRow:  # as plans.py packs it
    double low
    double high
    Span key  # '"code":'
    uint32_t kind
    uint32_t least
    uint32_t most
    uint32_t words
    uint32_t word_count
    uint32_t automaton  # 0: none

cdef struct Slot:
    uint32_t rank
    uint32_t at
    uint32_t size

cdef extern from *:
    """
    #define IDNODE_ONES 0x0101010101010101ULL
    #define IDNODE_HIGHS 0x8080808080808080ULL
    """
    const uint64_t ONES "IDNODE_ONES"
    const uint64_t HIGHS "IDNODE_HIGHS"

cdef uint8_t[256] IN_STRING  # 0: an ASCII character that may stand in a text; 1: not in a string; 2: look closer
cdef double[7] TENS = [1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6]


def _fill_string_classes():
    cdef int c
    for c in range(256):
        IN_STRING[c] = 1 if c < 0x20 or c == 0x22 or c == 0x5C else 2 if c >= 0x7F else 0


_fill_string_classes()


cdef inline uint64_t eight(const uint8_t* s) noexcept nogil:
    cdef uint64_t found
    memcpy(&found, s, 8)
    return found


cdef inline uint64_t has(uint64_t eight_, uint64_t byte) noexcept nogil:
    """Not 0 in the high bits where one of eight bytes is `byte`; which one it does not say."""
    eight_ ^= byte * ONES
    return (eight_ - ONES) & ~eight_


cdef inline bint ends_string(uint64_t eight_) noexcept nogil:
    """Whether one of eight bytes is a quote, a backslash or below a blank: no string goes on behind it."""
    return ((eight_ - 0x20 * ONES & ~eight_) | has(eight_, c'"') | has(eight_, c'\\')) & HIGHS != 0


cdef inline bint is_wide(uint64_t eight_) noexcept nogil:
    """Whether one of eight bytes is 0x7F or above."""
    return (eight_ | has(eight_, 0x7F)) & HIGHS != 0


cdef inline Py_ssize_t string_end(const uint8_t* s, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """The closing quote of the string without escapes whose content begins at `at`; -1: there is none."""
    while end - at >= 8 and not ends_string(eight(s + at)):
        at += 8
    while at < end and IN_STRING[s[at]] != 1:
        at += 1
    return at if at < end and s[at] == c'"' else -1


cdef inline bint continues(const uint8_t* s, Py_ssize_t at, Py_ssize_t count, Py_ssize_t end) noexcept nogil:
    """Whether `count` continuation bytes of UTF-8 stand behind the lead byte."""
    cdef Py_ssize_t i
    if at + count >= end:
        return False
    for i in range(1, count + 1):
        if s[at + i] & 0xC0 != 0x80:
            return False
    return True


cdef Py_ssize_t wide_character(const uint8_t* s, Py_ssize_t at, Py_ssize_t end, bint* blank) noexcept nogil:
    """Bytes of the character beyond ASCII at `at`; 0 where it is no UTF-8 or is refused in texts."""
    cdef uint8_t a = s[at], b
    if a < 0xC2 or a > 0xF4 or at + 1 >= end:
        return 0
    b = s[at + 1]
    if a < 0xE0:
        if a == 0xC2:
            blank[0] = True  # U+00A0 is a blank; its neighbours are for the slow way as well
        return 2 if continues(s, at, 1, end) and not (a == 0xC2 and b < 0xA0) else 0
    if a < 0xF0:
        if not continues(s, at, 2, end) or (a == 0xE0 and b < 0xA0) or (a == 0xED and b >= 0xA0):
            return 0
        if a == 0xE1 or a == 0xE2 or (a == 0xE3 and b == 0x80):
            blank[0] = True
        if a == 0xE2 and ((b == 0x80 and 0xA8 <= s[at + 2] <= 0xAE) or (b == 0x81 and 0xA6 <= s[at + 2] <= 0xA9)):
            return 0
        if a == 0xEF and ((b == 0xBB and s[at + 2] == 0xBF) or (b == 0xBF and s[at + 2] >= 0xBE)):
            return 0
        return 3
    if not continues(s, at, 3, end) or (a == 0xF0 and b < 0x90) or (a == 0xF4 and b >= 0x90):
        return 0
    return 4


cdef Py_ssize_t text_end(
    const uint8_t* s, Py_ssize_t at, Py_ssize_t end, Py_ssize_t* characters, bint* blank
) noexcept nogil:
    """As string_end, for a text that is stored; its characters are counted, and whether a blank may be among them."""
    cdef Py_ssize_t count = 0, wide
    cdef uint64_t some
    cdef uint8_t kind
    blank[0] = False
    while end - at >= 8:
        some = eight(s + at)
        if ends_string(some) or is_wide(some):
            break
        blank[0] |= has(some, c' ') & HIGHS != 0
        at += 8
        count += 8
    while at < end:
        kind = IN_STRING[s[at]]
        if kind == 0:
            blank[0] |= s[at] == c' '
            at += 1
        elif kind == 1:
            characters[0] = count
            return at if s[at] == c'"' else -1
        else:
            wide = 0 if s[at] == 0x7F else wide_character(s, at, end, blank)
            if wide == 0:
                return -1
            at += wide
        count += 1
    return -1


cdef bint among(const uint8_t* base, const FieldRow* field, const uint8_t* s, Py_ssize_t size) noexcept nogil:
    cdef const Span* word = <const Span*>(base + field.words)
    cdef uint32_t i
    for i in range(field.word_count):
        if word[i].size == size and memcmp(base + word[i].at, s, size) == 0:
            return True
    return False


cdef bint accepts(const uint8_t* automaton, const uint8_t* s, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t i
    cdef uint32_t state = 1
    for i in range(size):
        state = automaton[state * 256 + s[i]]
    return state != 0


cdef inline bint all_digits(const uint8_t* s, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(size):
        if not is_digit(s[i]):
            return False
    return True


cdef bint is_day(const uint8_t* s) noexcept nogil:
    """YYYY-MM-DD of the calendar, 1900 to 2199; ten bytes."""
    cdef int year, month, day, longest
    if s[4] != c'-' or s[7] != c'-' or not (all_digits(s, 4) and all_digits(s + 5, 2) and all_digits(s + 8, 2)):
        return False
    year, month, day = two_digits(s) * 100 + two_digits(s + 2), two_digits(s + 5), two_digits(s + 8)
    if year < 1900 or year > 2199 or month < 1 or month > 12 or day < 1:
        return False
    longest = 29 if month == 2 else 30 if month == 4 or month == 6 or month == 9 or month == 11 else 31
    if month == 2 and (year % 4 or (year % 100 == 0 and year % 400)):
        longest = 28
    return day <= longest


cdef inline bint clock(const uint8_t* s) noexcept nogil:
    """HH:MM; five bytes."""
    return (
        s[2] == c':' and all_digits(s, 2) and all_digits(s + 3, 2) and two_digits(s) < 24 and two_digits(s + 3) < 60
    )


cdef bint is_moment(const uint8_t* s, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t at = 19, places
    if size == 10:
        return is_day(s)
    if size < 20 or not is_day(s) or s[10] != c'T' or not clock(s + 11) or s[16] != c':':
        return False
    if not all_digits(s + 17, 2) or two_digits(s + 17) > 59:
        return False
    if s[at] == c'.':
        at += 1
        places = at
        while at < size and is_digit(s[at]):
            at += 1
        if at == places or at - places > 6:
            return False
    if size - at == 1:
        return s[at] == c'Z'
    return size - at == 6 and (s[at] == c'+' or s[at] == c'-') and clock(s + at + 1)


cdef bint is_safe_link(const uint8_t* s, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(size):
        if s[i] == 0x27 or s[i] == c'<' or s[i] == c'>' or s[i] == 0x60:
            return False
    if memchr(s, c':', size) == NULL:
        return True
    return (
        (size >= 8 and memcmp(s, b"https://", 8) == 0)
        or (size >= 7 and (memcmp(s, b"http://", 7) == 0 or memcmp(s, b"sha256:", 7) == 0))
    )


cdef bint is_reference(const uint8_t* s, Py_ssize_t size) noexcept nogil:
    if size >= 4 and memcmp(s, b"did:", 4) == 0:
        return False
    if size >= 3 and is_digit(s[0]) and is_digit(s[1]) and s[2] == c'.':
        return split_ascii(s, size, False) >= 0
    return True


cdef bint is_imei(const uint8_t* s, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t i
    cdef int total = 0, digit
    if size != 15 or not all_digits(s, size):
        return False
    for i in range(15):
        digit = (s[i] - c'0') << (i & 1)
        total += digit - 9 if digit > 9 else digit
    return total % 10 == 0


cdef bint is_right(uint32_t kind, const uint8_t* s, Py_ssize_t size, bint blank) noexcept nogil:
    if kind == KIND_TEXT:
        return True
    if kind == KIND_DAY:
        return size == 10 and is_day(s)
    if kind == KIND_MOMENT:
        return is_moment(s, size)
    if kind == KIND_FILE:
        return not blank and is_safe_link(s, size)
    if kind == KIND_REFERENCE:
        return not blank and is_reference(s, size)
    if kind == KIND_DRUG20:
        return size == 20 and all_digits(s, size)
    if kind == KIND_IMEI:
        return is_imei(s, size)
    if kind == KIND_GTIN:
        return (size == 8 or 12 <= size <= 14) and all_digits(s, size) and mod10(s, size)
    return False


cdef Py_ssize_t number_end(
    const FieldRow* field, const uint8_t* s, Py_ssize_t at, Py_ssize_t end, Slot* slot
) noexcept nogil:
    """The slot becomes the number as orjson prints it: zeros at the end of the places are left out."""
    cdef bint negative = at < end and s[at] == c'-'
    cdef Py_ssize_t start = at, whole, point, kept
    cdef uint64_t units = 0
    cdef double value
    at += negative
    whole = at
    while at < end and is_digit(s[at]) and at - whole <= NUMBER_DIGITS and not (at > whole and s[whole] == c'0'):
        units = units * 10 + (s[at] - c'0')
        at += 1
    point = at
    if at == whole or at - whole > NUMBER_DIGITS:
        return -1
    kept = point
    if at + 1 < end and s[at] == c'.' and is_digit(s[at + 1]):
        at += 1
        while at < end and is_digit(s[at]) and at - point <= NUMBER_PLACES + 1:
            units = units * 10 + (s[at] - c'0')
            at += 1
            if s[at - 1] != c'0':
                kept = at
        if at - point - 1 > NUMBER_PLACES or at - whole - 1 > NUMBER_DIGITS:
            return -1
    value = <double>units / TENS[at - point - 1 if at > point else 0]
    if negative:
        value = -value
    if (negative and units == 0) or (kept > point and field.kind == KIND_INTEGER):
        return -1
    if kept > point and s[whole] == c'0' and kept - point > 3 and memcmp(s + point, b".000", 4) == 0:
        return -1
    if not field.low <= value <= field.high:
        return -1
    slot.at, slot.size = <uint32_t>start, <uint32_t>(kept - start)
    return at

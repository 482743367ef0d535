"""GS1 in its usual forms: no escapes, no blanks, nothing twice. The formats are those of pure.gs1, by number."""

cdef enum:
    MOST_ELEMENTS = 16
    NO_CHECK = 0
    CHECK_DIGIT = 1
    DATE = 2
    PIECES = 3

cdef struct Element:
    int ai
    const uint8_t* value
    Py_ssize_t size
    bint padded

cdef list NAMES = list(_gs1.FORMATS)
cdef int8_t[100] TWO
cdef int8_t[1000] THREE
cdef int8_t[10000] FOUR
cdef uint8_t[100] DIGITS_OF_AI
cdef uint8_t[64] LEAST
cdef uint8_t[64] MOST
cdef uint8_t[64] ONLY_DIGITS
cdef uint8_t[64] CHECK
cdef uint8_t[64] PREDEFINED
cdef uint8_t[64] IS_KEY
cdef uint8_t[64] ATTRIBUTE
cdef uint8_t[64][64] RANK  # of a qualifier (second) among those of a key (first), from 1; 0: none of its own
cdef uint8_t[256] SET_82
cdef uint8_t[256] ONLY_09


def _fill_formats():
    cdef int i
    for i in range(100):
        TWO[i] = -1
        DIGITS_OF_AI[i] = _gs1.LONGER.get(f"{i:02}", 2)
    for i in range(1000):
        THREE[i] = -1
    for i in range(10000):
        FOUR[i] = -1
    assert len(NAMES) <= 64
    for i, (ai, (least, most, digits, check)) in enumerate(_gs1.FORMATS.items()):
        if len(ai) == 2:
            TWO[<int>int(ai)] = i
        elif len(ai) == 3:
            THREE[<int>int(ai)] = i
        else:
            FOUR[<int>int(ai)] = i
        LEAST[i], MOST[i], ONLY_DIGITS[i] = least, most, digits
        CHECK[i] = ("", "check_digit", "date", "pieces").index(check)
        PREDEFINED[i] = ai in _gs1.PREDEFINED
        IS_KEY[i] = ai in _gs1.DL_KEYS
        ATTRIBUTE[i] = ai not in _gs1.NO_ATTRIBUTE
    for key, qualifiers in _gs1.DL_KEYS.items():
        for rank, ai in enumerate(qualifiers):
            RANK[<int>NAMES.index(key)][<int>NAMES.index(ai)] = rank + 1
    for i in range(256):
        c = chr(i)
        SET_82[i] = i < 128 and not _gs1.NOT_SET_82.search(c)
        ONLY_09[i] = c in "0123456789"


_fill_formats()


cdef int ai_of(const uint8_t* s, Py_ssize_t size) noexcept nogil:
    """The number of the AI that is all of `s`, -1 for none."""
    cdef Py_ssize_t i
    cdef int number = 0
    if size < 2 or size > 4:
        return -1
    for i in range(size):
        if not is_digit(s[i]):
            return -1
        number = number * 10 + (s[i] - c'0')
    return TWO[number] if size == 2 else THREE[number] if size == 3 else FOUR[number]


cdef bint mod10(const uint8_t* s, Py_ssize_t size) noexcept nogil:
    cdef int odd = 0, even = 0
    cdef Py_ssize_t i = size - 1
    while i > 0:
        odd += s[i] - c'0'
        even += s[i - 1] - c'0'
        i -= 2
    if i == 0:
        odd += s[0] - c'0'
    return (odd + 3 * even) % 10 == 0


cdef inline int two_digits(const uint8_t* s) noexcept nogil:
    return (s[0] - c'0') * 10 + (s[1] - c'0')


cdef bint is_date(const uint8_t* s) noexcept nogil:
    cdef int month = two_digits(s + 2), day = two_digits(s + 4)
    cdef int longest
    if month < 1 or month > 12:
        return False
    longest = 29 if month == 2 else 30 if month == 4 or month == 6 or month == 9 or month == 11 else 31
    return day <= longest and not (month == 2 and day == 29 and two_digits(s) % 4)


cdef bint fits(const Element* e) noexcept nogil:
    """Whether the value obeys its format; a padded one is a GTIN with fewer digits, whose zeros change no sum."""
    cdef Py_ssize_t i
    cdef int ai = e.ai
    cdef const uint8_t* allowed = &ONLY_09[0] if ONLY_DIGITS[ai] else &SET_82[0]
    if not e.padded and (e.size < LEAST[ai] or e.size > MOST[ai]):
        return False
    for i in range(e.size):
        if not allowed[e.value[i]]:
            return False
    if CHECK[ai] == CHECK_DIGIT:
        return mod10(e.value, e.size)
    if CHECK[ai] == DATE:
        return is_date(e.value)
    if CHECK[ai] == PIECES:
        i = two_digits(e.value + 14)
        return mod10(e.value, 14) and 0 < i <= two_digits(e.value + 16)
    return True


cdef bint add(Element* elements, int* count, int ai, const uint8_t* value, Py_ssize_t size, bint pad) noexcept nogil:
    """Append an element that fits; False where it does not, stands there already or there are too many."""
    cdef int i
    if ai < 0 or count[0] == MOST_ELEMENTS:
        return False
    for i in range(count[0]):
        if elements[i].ai == ai:
            return False
    elements[count[0]] = Element(ai, value, size, pad and MOST[ai] == 14 and (size == 8 or size == 12 or size == 13))
    if not fits(&elements[count[0]]):
        return False
    count[0] += 1
    return True


cdef object pairs_of(const Element* elements, int count):
    cdef int i
    cdef char[14] digits
    result = PyTuple_New(count)
    for i in range(count):
        if elements[i].padded:
            for j in range(14 - elements[i].size):
                digits[j] = c'0'
            memcpy(digits + 14 - elements[i].size, elements[i].value, elements[i].size)
            value = PyUnicode_FromStringAndSize(digits, 14)
        else:
            value = PyUnicode_FromStringAndSize(<const char*>elements[i].value, elements[i].size)
        pair = (NAMES[elements[i].ai], value)
        Py_INCREF(pair)
        PyTuple_SetItem(result, i, pair)
    return result


def gtin14(text):
    cdef Py_ssize_t size
    cdef const uint8_t* s = utf8(text, &size)
    cdef Element e
    if s != NULL and (size == 8 or size == 12 or size == 13 or size == 14):
        e = Element(TWO[1], s, size, size < 14)
        if fits(&e):
            return text if size == 14 else "0" * (14 - size) + text
    return pure.gtin14(text)


def parse_elements(text):
    cdef Py_ssize_t size
    cdef const uint8_t* s = utf8(text, &size)
    cdef Element[MOST_ELEMENTS] elements
    cdef int count = 0
    cdef bint right
    if s == NULL or size < 4 or size > MAX_TEXT:
        return pure.parse_elements(text)
    if s[0] == c'(':
        right = read_bracketed(s, size, elements, &count)
    else:
        right = read_raw(s, size, elements, &count)
    return pairs_of(elements, count) if right else pure.parse_elements(text)


cdef bint read_raw(const uint8_t* s, Py_ssize_t size, Element* elements, int* count) noexcept nogil:
    cdef Py_ssize_t at = 0, end, digits
    cdef int ai
    if s[0] == c']':
        if not (
            memcmp(s, b"]C1", 3) == 0 or memcmp(s, b"]d2", 3) == 0 or memcmp(s, b"]Q3", 3) == 0
            or memcmp(s, b"]e0", 3) == 0 or memcmp(s, b"]J1", 3) == 0
        ):
            return False
        at = 3
    while at < size and s[at] == 0x1D:
        at += 1
    while at < size:
        if size - at < 3 or not (is_digit(s[at]) and is_digit(s[at + 1])):
            return False
        digits = DIGITS_OF_AI[two_digits(s + at)]
        if size - at <= digits:
            return False
        ai = ai_of(s + at, digits)
        if ai < 0:
            return False
        at += digits
        if PREDEFINED[ai]:
            end = at + MOST[ai]
            if end > size:
                return False
        else:
            end = at
            while end < size and s[end] != 0x1D:
                end += 1
        if not add(elements, count, ai, s + at, end - at, False):
            return False
        at = end
        while at < size and s[at] == 0x1D:
            at += 1
    return count[0] > 0


cdef bint read_bracketed(const uint8_t* s, Py_ssize_t size, Element* elements, int* count) noexcept nogil:
    cdef Py_ssize_t at = 0, end
    while at < size:
        if s[at] != c'(':
            return False
        end = at + 1
        while end < size and end - at < 6 and s[end] != c')':
            end += 1
        if end == size or s[end] != c')':
            return False
        ai = ai_of(s + at + 1, end - at - 1)
        at = end + 1
        end = at
        while end < size and s[end] != c'(':
            end += 1
        if not add(elements, count, ai, s + at, end - at, False):
            return False
        at = end
    return True

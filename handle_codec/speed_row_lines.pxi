"""Whole lines of rows: the envelope, what the lot asks, and the columns."""

cdef enum:
    HANDLE_SEEN = 1
    LOT_SEEN = 2
    TEMPLATE_SEEN = 4
    ATTRIBUTES_SEEN = 8


cdef int member_of(const uint8_t* s, Py_ssize_t size) noexcept nogil:
    if size == 6 and memcmp(s, b"handle", 6) == 0:
        return HANDLE_SEEN
    if size == 3 and memcmp(s, b"lot", 3) == 0:
        return LOT_SEEN
    if size == 8 and memcmp(s, b"template", 8) == 0:
        return TEMPLATE_SEEN
    if size == 10 and memcmp(s, b"attributes", 10) == 0:
        return ATTRIBUTES_SEEN
    return 0


cdef Py_ssize_t member_end(
    const uint8_t* base, const uint8_t* s, Py_ssize_t at, Py_ssize_t end, Reading* row
) noexcept nogil:
    """Read the member whose name's quote is at `at`; where its value ends, -1: not sure."""
    cdef Py_ssize_t close
    cdef int member
    cdef Text text
    if at >= end or s[at] != c'"':
        return -1
    close = string_end(s, at + 1, end)
    if close < 0:
        return -1
    member = member_of(s + at + 1, close - at - 1)
    if member == 0 or row.seen & member:
        return -1
    row.seen |= member
    at = behind_colon(s, close + 1, end)
    if at < 0:
        return -1
    if member == ATTRIBUTES_SEEN:
        return attributes_end(base, s, at, end, row)
    if at >= end or s[at] != c'"':
        return -1
    close = string_end(s, at + 1, end)
    if close < 0:
        return -1
    text.s, text.size = s + at + 1, close - at - 1
    if member == HANDLE_SEEN:
        row.handle = text
    elif member == LOT_SEEN:
        row.lot = text
    else:
        row.template = text
    return close + 1


cdef bint read_line(const uint8_t* base, const uint8_t* s, Py_ssize_t at, Py_ssize_t end, Reading* row) noexcept nogil:
    """Whether the line is an object of the members we know, each once and each certain by itself."""
    row.handle.s = row.lot.s = row.template.s = s
    row.handle.size = row.lot.size = row.template.size = 0
    row.seen = row.count = 0
    row.ranks = 0
    at = skip(s, at, end)
    if at >= end or s[at] != c'{':
        return False
    while True:
        at = member_end(base, s, skip(s, at + 1, end), end, row)
        if at < 0:
            return False
        at = skip(s, at, end)
        if at < end and s[at] == c'}':
            return skip(s, at + 1, end) == end
        if at >= end or s[at] != c',':
            return False


cdef inline const Slot* slot_of(const Reading* row, uint32_t rank) noexcept nogil:
    """A plan has many checks, a row few slots: most of them are not there, which one bit says."""
    cdef int i
    if not row.ranks >> (rank & 63) & 1:
        return NULL
    for i in range(row.count):
        if row.slots[i].rank == rank:
            return &row.slots[i]
    return NULL


cdef Text inside(const uint8_t* s, const Slot* slot) noexcept nogil:
    """The slot's text without its quotes."""
    cdef Text text
    text.s = s + slot.at + 1
    text.size = slot.size - 2 if slot.size > 2 else 0
    return text


cdef bint keeps(
    const uint8_t* base, const uint8_t* s, const CheckRow* check, const Slot* first, const Slot* second
) noexcept nogil:
    """Whether a row with these slots (`second` NULL: absent) is sure by this bound or pair, as pure.rows has it."""
    cdef Text a, b
    cdef Py_ssize_t tail
    a = inside(s, first)
    if check.kind == CHECK_BOUND:
        if second != NULL:
            return True
        return compared(base + check.low.at, check.low.size, a.s, a.size) <= 0 and (
            check.high.size == 0 or compared(a.s, a.size, base + check.high.at, check.high.size) <= 0
        )
    if second == NULL:
        return True
    b = inside(s, second)
    if check.kind != CHECK_ORDER or a.size == 0 or b.size == 0 or not is_digit(a.s[0]) or not is_digit(b.s[0]):
        return False
    if compared(a.s, a.size, b.s, b.size) > 0:
        return False
    if a.size == 10 or b.size == 10:
        return True
    tail = min(a.size, 6)  # the offset; a shorter text has none and is compared whole, as a slice of Python would be
    return tail == min(b.size, 6) and memcmp(a.s + a.size - tail, b.s + b.size - tail, tail) == 0


cdef bint suits(const uint8_t* base, const uint8_t* s, const LotRow* lot, const Reading* row) noexcept nogil:
    """Whether the row has what its lot leaves to it, within the lot's bounds."""
    cdef const uint32_t* needs = <const uint32_t*>(base + lot.needs)
    cdef const CheckRow* checks = <const CheckRow*>(base + lot.checks)
    cdef const Slot* first
    cdef uint32_t i
    for i in range(lot.need_count):
        if slot_of(row, needs[i]) == NULL:
            return False
    for i in range(lot.check_count):
        first = slot_of(row, checks[i].first)
        if first != NULL and not keeps(base, s, &checks[i], first, slot_of(row, checks[i].second)):
            return False
    return True


cdef bint names_template(const uint8_t* base, const Reading* row, const LotRow* lot) noexcept nogil:
    cdef const PlanHead* plan = <const PlanHead*>base
    cdef const Span* names = <const Span*>(base + plan.names)
    cdef uint32_t i
    if row.template.size == 0:
        return not lot.named
    for i in range(plan.name_count):
        if compared(row.template.s, row.template.size, base + names[i].at, names[i].size) == 0:
            return True
    return False


cdef inline void write(Output* out, const uint8_t* s, Py_ssize_t size) noexcept nogil:
    memcpy(out.bytes_ + out.used, s, size)
    out.used += <uint32_t>size


cdef void emit(
    Output* out, const uint8_t* base, const uint8_t* s, Text suffix, const LotRow* lot, const Reading* row
) noexcept nogil:
    """Write a sure row. All of it stands in its line as well, brackets and names included: it is never longer."""
    cdef const PlanHead* plan = <const PlanHead*>base
    cdef const FieldRow* fields = <const FieldRow*>(base + plan.fields)
    cdef const Span* key
    cdef Py_ssize_t n = out.sure
    cdef uint64_t spread = plan.spread
    cdef int i
    out.rows[n], out.lines[n], out.suffixes[n] = out.row, out.line, out.used
    out.shards[n] = <uint16_t>((plan.home + (xxh64(suffix.s, suffix.size) % spread if spread > 1 else 0)) % SHARDS)
    write(out, suffix.s, suffix.size)
    out.lots[n] = out.used
    write(out, base + lot.suffix.at, lot.suffix.size)
    out.contents[n] = out.used
    if row.count:
        write(out, <const uint8_t*>b'{"attributes":{', 15)
        for i in range(row.count):
            key = &fields[row.slots[i].rank].key
            write(out, base + key.at, key.size)
            write(out, s + row.slots[i].at, row.slots[i].size)
            write(out, <const uint8_t*>b",", 1)
        out.used -= 1
        write(out, <const uint8_t*>b"}}", 2)
    out.ends[n] = out.used
    out.sure += 1


cdef bint take_line(
    Output* out, const uint8_t* base, const uint8_t* s, Py_ssize_t at, Py_ssize_t end, Reading* row
) noexcept nogil:
    """Emit the line's row if it is sure."""
    cdef const PlanHead* plan = <const PlanHead*>base
    cdef const LotRow* lot
    cdef Py_ssize_t slash
    cdef Text suffix
    if end - at < LEAST_ROW or not read_line(base, s, at, end, row):
        return False
    slash = split_ascii(row.handle.s, row.handle.size, True)
    if slash < 0 or slash != plan.prefix.size or memcmp(row.handle.s, base + plan.prefix.at, slash) != 0:
        return False
    suffix.s, suffix.size = row.handle.s + slash + 1, row.handle.size - slash - 1
    if minted_form(suffix.s, suffix.size):
        return False
    lot = lot_of(base, row)
    if lot == NULL or not names_template(base, row, lot) or not suits(base, s, lot, row):
        return False
    emit(out, base, s, suffix, lot, row)
    return True

"""Rows of NDJSON by a plan's program (plans.py). No Python object is made for a sure row, and the GIL is let go."""

cdef enum:
    MOST_SLOTS = 64
    NO_RANK = 0xFFFFFFFF
    LEAST_ROW = 16  # bytes of a row that can be sure: {"handle":"P/S"} with a prefix of eight is longer still
    CHECK_BOUND = 0
    CHECK_ORDER = 1

cdef struct LotRow:
    Span suffix
    uint32_t named
    uint32_t needs
    uint32_t need_count
    uint32_t checks
    uint32_t check_count
    uint32_t unused

cdef struct CheckRow:
    uint32_t kind
    uint32_t first
    uint32_t second
    Span low
    Span high
    uint32_t unused

cdef struct PlanHead:
    uint32_t field_count
    uint32_t fields
    uint32_t lot_count
    uint32_t lots
    uint32_t name_count
    uint32_t names
    Span prefix
    uint32_t home
    uint32_t spread

cdef struct Text:
    const uint8_t* s
    Py_ssize_t size

cdef struct Reading:  # one row, and what the last one was like
    Text handle
    Text lot
    Text template
    int seen
    int count
    uint64_t ranks  # bit r mod 64 is set where a slot has rank r
    Slot[MOST_SLOTS] slots
    uint32_t[MOST_SLOTS] guesses  # the ranks of the last row's attributes, in its order
    Text last_lot
    const LotRow* last_found

cdef struct Output:
    uint8_t* bytes_
    uint32_t used
    uint32_t* rows
    uint32_t* lines
    uint32_t* suffixes
    uint32_t* lots
    uint32_t* contents
    uint32_t* ends
    uint16_t* shards
    Py_ssize_t sure
    uint32_t* doubts  # of each unsure row: row, line, start and end in the data; start after end: too long
    Py_ssize_t unsure
    uint32_t row
    uint32_t line


cdef inline Py_ssize_t skip(const uint8_t* s, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    while at < end and (s[at] == c' ' or s[at] == c'\t' or s[at] == c'\r'):
        at += 1
    return at


cdef inline Py_ssize_t behind_colon(const uint8_t* s, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    at = skip(s, at, end)
    return skip(s, at + 1, end) if at < end and s[at] == c':' else -1


cdef inline int compared(const uint8_t* a, Py_ssize_t a_size, const uint8_t* b, Py_ssize_t b_size) noexcept nogil:
    cdef int order = memcmp(a, b, min(a_size, b_size))
    return order if order else (a_size > b_size) - (a_size < b_size)


cdef uint32_t rank_of(const uint8_t* base, const uint8_t* s, Py_ssize_t size) noexcept nogil:
    """The rank of a field by its code; NO_RANK: no field."""
    cdef const PlanHead* plan = <const PlanHead*>base
    cdef const FieldRow* fields = <const FieldRow*>(base + plan.fields)
    cdef uint32_t low = 0, high = plan.field_count, middle
    cdef int order
    while low < high:
        middle = (low + high) // 2
        order = compared(s, size, base + fields[middle].key.at + 1, fields[middle].key.size - 3)
        if order == 0:
            return middle
        if order < 0:
            high = middle
        else:
            low = middle + 1
    return NO_RANK


cdef const LotRow* lot_of(const uint8_t* base, Reading* row) noexcept nogil:
    """The lot that a row names, as a handle or as a suffix; NULL: unknown."""
    cdef const PlanHead* plan = <const PlanHead*>base
    cdef const LotRow* lots = <const LotRow*>(base + plan.lots)
    cdef const uint8_t* s = row.lot.s
    cdef Py_ssize_t size = row.lot.size, lead = plan.prefix.size + 1
    cdef uint32_t low = 0, high = plan.lot_count, middle
    cdef int order
    if row.last_found != NULL and size == row.last_lot.size and memcmp(s, row.last_lot.s, size) == 0:
        return row.last_found
    if size >= lead and s[lead - 1] == c'/' and memcmp(s, base + plan.prefix.at, lead - 1) == 0:
        if size == lead:
            return NULL
        s += lead
        size -= lead
    while low < high:
        middle = (low + high) // 2
        order = compared(s, size, base + lots[middle].suffix.at, lots[middle].suffix.size)
        if order == 0:
            row.last_lot = row.lot
            row.last_found = &lots[middle]
            return row.last_found
        if order < 0:
            high = middle
        else:
            low = middle + 1
    return NULL


cdef inline bint insert_slot(Reading* row, const Slot* slot) noexcept nogil:
    """Slots stand in the order of their ranks; False where one has this rank already or there are too many."""
    cdef int at = row.count
    if at == MOST_SLOTS:
        return False
    while at and row.slots[at - 1].rank > slot.rank:
        row.slots[at] = row.slots[at - 1]
        at -= 1
    if at and row.slots[at - 1].rank == slot.rank:
        # What was moved is lost, and the row with it: it is not sure.
        return False
    row.slots[at] = slot[0]
    row.ranks |= <uint64_t>1 << (slot.rank & 63)
    row.count += 1
    return True


cdef Py_ssize_t value_end(
    const uint8_t* base, const FieldRow* field, const uint8_t* s, Py_ssize_t at, Py_ssize_t end, Slot* slot
) noexcept nogil:
    """Where the value at `at` ends, its canonical form in the slot; -1: not sure."""
    cdef Py_ssize_t start = at, characters
    cdef bint blank, right
    if field.kind == KIND_NUMBER or field.kind == KIND_INTEGER:
        return number_end(field, s, at, end, slot)
    if field.kind == KIND_BOOL:
        if end - at >= 4 and memcmp(s + at, b"true", 4) == 0:
            at += 4
        elif end - at >= 5 and memcmp(s + at, b"false", 5) == 0:
            at += 5
        else:
            return -1
        slot.at, slot.size = <uint32_t>start, <uint32_t>(at - start)
        return at
    if field.kind == 0 or at >= end or s[at] != c'"':
        return -1
    start += 1
    if field.kind == KIND_ENUM:
        at = string_end(s, start, end)
        if at < 0 or not among(base, field, s + start, at - start):
            return -1
    else:
        at = text_end(s, start, end, &characters, &blank)
        if at < 0 or characters < field.least or characters > field.most:
            return -1
        right = is_right(field.kind, s + start, at - start, blank)
        if right and field.automaton:
            right = accepts(base + field.automaton, s + start, at - start + 1)  # with the quote
        if not right and not among(base, field, s + start, at - start):
            return -1
    slot.at, slot.size = <uint32_t>(start - 1), <uint32_t>(at - start + 2)
    return at + 1


cdef Py_ssize_t key_end(
    const uint8_t* base, const uint8_t* s, Py_ssize_t at, Py_ssize_t end, Reading* row, Slot* slot
) noexcept nogil:
    """Where the value behind the key at `at` begins, the field's rank in the slot; -1: no key of the plan."""
    cdef const PlanHead* plan = <const PlanHead*>base
    cdef const FieldRow* field
    cdef Py_ssize_t close
    cdef uint32_t guess = row.guesses[row.count] if row.count < MOST_SLOTS else 0
    if guess < plan.field_count:
        field = <const FieldRow*>(base + plan.fields) + guess
        if end - at > field.key.size and memcmp(s + at, base + field.key.at, field.key.size) == 0:
            slot.rank = guess
            return skip(s, at + field.key.size, end)
    if at >= end or s[at] != c'"':
        return -1
    close = string_end(s, at + 1, end)
    if close < 0:
        return -1
    slot.rank = rank_of(base, s + at + 1, close - at - 1)
    return -1 if slot.rank == NO_RANK else behind_colon(s, close + 1, end)


cdef Py_ssize_t attributes_end(
    const uint8_t* base, const uint8_t* s, Py_ssize_t at, Py_ssize_t end, Reading* row
) noexcept nogil:
    """Fill the row's slots from the object at `at`; where it ends, -1: not sure."""
    cdef const FieldRow* fields = <const FieldRow*>(base + (<const PlanHead*>base).fields)
    cdef Slot slot
    if at >= end or s[at] != c'{':
        return -1
    at += 1
    if at < end and s[at] == c'}':
        return at + 1
    while True:
        at = key_end(base, s, skip(s, at, end), end, row, &slot)
        if at < 0:
            return -1
        at = value_end(base, &fields[slot.rank], s, at, end, &slot)
        if at < 0 or row.count == MOST_SLOTS:
            return -1
        row.guesses[row.count] = slot.rank
        if not insert_slot(row, &slot):
            return -1
        at = skip(s, at, end)
        if at < end and s[at] == c'}':
            return at + 1
        if at >= end or s[at] != c',':
            return -1
        at += 1

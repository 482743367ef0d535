"""Sure rows by key, and as binary COPY: a counting sort by shard, then a merge of the suffixes within each."""

cdef enum:
    FIXED = 88  # bytes of a COPY row beside suffix, lot and content

cdef struct Key:
    uint64_t head  # the suffix's next eight bytes behind what all of them begin with
    uint32_t at
    uint32_t size
    uint32_t row


cdef bint before(const uint8_t* s, const Key* a, const Key* b) noexcept nogil:
    """Whether `a` comes before `b`. Equal heads say nothing where a suffix ends within them."""
    if a.head != b.head:
        return a.head < b.head
    return compared(s + a.at, a.size, s + b.at, b.size) < 0


cdef void merge_sort(const uint8_t* s, Key* keys, Key* spare, Py_ssize_t count) noexcept nogil:
    """Stable; parts that follow one another already, which is usual, are left alone."""
    cdef Py_ssize_t width = 1, start, middle, end, a, b, at
    while width < count:
        start = 0
        while start + width < count:
            middle, end = start + width, min(start + 2 * width, count)
            if before(s, &keys[middle], &keys[middle - 1]):
                a, b = start, middle
                for at in range(start, end):
                    if b == end or (a < middle and not before(s, &keys[b], &keys[a])):
                        spare[at] = keys[a]
                        a += 1
                    else:
                        spare[at] = keys[b]
                        b += 1
                memcpy(keys + start, spare + start, (end - start) * sizeof(Key))
            start = end
        width *= 2


cdef struct Columns_:
    const uint8_t* s
    const uint16_t* shards
    const uint32_t* suffixes
    const uint32_t* lots
    const uint32_t* contents
    const uint32_t* ends
    Py_ssize_t count


cdef Py_ssize_t shared(const Columns_* c) noexcept nogil:
    """How many bytes all suffixes begin with."""
    cdef Py_ssize_t size = c.lots[0] - c.suffixes[0] if c.count else 0, i, j
    for i in range(1, c.count):
        size = min(size, <Py_ssize_t>(c.lots[i] - c.suffixes[i]))
        j = 0
        while j < size and c.s[c.suffixes[i] + j] == c.s[c.suffixes[0] + j]:
            j += 1
        size = j
    return size


cdef void fill_keys(const Columns_* c, Key* keys, uint32_t* starts) noexcept nogil:
    """Keys by shard; `starts` (1,025 numbers, 0 at first) becomes where each shard's keys end."""
    cdef Py_ssize_t i, j, common = shared(c)
    cdef Key key
    for i in range(c.count):
        starts[c.shards[i] + 1] += 1
    for i in range(SHARDS):
        starts[i + 1] += starts[i]
    for i in range(c.count):
        key.row, key.at, key.size, key.head = <uint32_t>i, c.suffixes[i], c.lots[i] - c.suffixes[i], 0
        for j in range(common, common + 8):
            key.head = key.head << 8 | (c.s[key.at + j] if j < key.size else 0)
        keys[starts[c.shards[i]]] = key
        starts[c.shards[i]] += 1


cdef const uint32_t* numbers(view) except NULL:
    """What a column points at; it lives as long as the view."""
    cdef bytes data = view.obj
    return <const uint32_t*>PyBytes_AsString(data)


cdef Columns_ columns_of(batch) except *:
    cdef Columns_ found
    cdef bytes buffer = batch.buffer
    found.s = <const uint8_t*>PyBytes_AsString(buffer)
    found.count = len(batch)
    found.shards = <const uint16_t*>numbers(batch.shards)
    found.suffixes = numbers(batch.suffixes)
    found.lots = numbers(batch.lots)
    found.contents = numbers(batch.contents)
    found.ends = numbers(batch.ends)
    return found


def sort_rows(batch):
    cdef Columns_ c = columns_of(batch)
    cdef bytes space = PyBytes_FromStringAndSize(NULL, 2 * c.count * sizeof(Key))
    cdef bytes counted = bytes((SHARDS + 1) * 4)
    cdef bytes made = PyBytes_FromStringAndSize(NULL, c.count * 4)
    cdef Key* keys = <Key*>PyBytes_AsString(space)
    cdef uint32_t* ends = <uint32_t*>PyBytes_AsString(counted)
    cdef uint32_t* order = <uint32_t*>PyBytes_AsString(made)
    cdef Py_ssize_t i, start = 0
    with nogil:
        fill_keys(&c, keys, ends)
        for i in range(SHARDS):
            merge_sort(c.s, keys + start, keys + c.count, ends[i] - start)
            start = ends[i]
        for i in range(c.count):
            order[i] = keys[i].row
    doubles = [
        order[i] for i in range(1, c.count)
        if c.shards[order[i]] == c.shards[order[i - 1]]
        and compared(c.s + keys[i].at, keys[i].size, c.s + keys[i - 1].at, keys[i - 1].size) == 0
    ]
    return column(made, "I"), doubles


cdef inline uint8_t* put16(uint8_t* into, uint32_t number) noexcept nogil:
    into[0], into[1] = <uint8_t>(number >> 8), <uint8_t>number
    return into + 2


cdef inline uint8_t* put32(uint8_t* into, uint32_t number) noexcept nogil:
    return put16(put16(into, number >> 16), number)


cdef inline uint8_t* put_bytes(uint8_t* into, const uint8_t* s, uint32_t start, uint32_t end) noexcept nogil:
    into = put32(into, end - start)
    memcpy(into, s + start, end - start)
    return into + (end - start)


cdef uint8_t* put_head(uint8_t* into, uint32_t prefix, uint32_t template, uint64_t now) noexcept nogil:
    """The columns that are the same in all rows: number of columns, times, prefix, template, version."""
    cdef int i
    into = put16(into, 13)
    for i in range(2):
        into = put32(put32(put32(into, 8), <uint32_t>(now >> 32)), <uint32_t>now)
    return put32(put32(put32(put32(put32(put32(into, 4), prefix), 4), template), 4), 1)


cdef inline uint8_t* put_content(uint8_t* into, const uint8_t* s, uint32_t start, uint32_t end) noexcept nogil:
    """The content in its stored form, which is never longer than the content."""
    cdef Py_ssize_t used = put_short(into + 4, s + start, end - start)
    if used < 0:
        return put_bytes(into, s, start, end)
    return put32(into, <uint32_t>used) + used


cdef uint8_t* put_rows(
    uint8_t* into, const uint8_t* head, const Columns_* c, const uint32_t* order, Py_ssize_t count
) noexcept nogil:
    """Where the rows end."""
    cdef Py_ssize_t n
    cdef uint32_t i
    for n in range(count):
        i = order[n]
        memcpy(into, head, 50)
        into = put16(put32(into + 50, 2), c.shards[i])
        into = put16(put32(put16(put32(into, 2), 0), 2), 1)
        into = put_bytes(into, c.s, c.suffixes[i], c.lots[i])
        into = put_bytes(into, c.s, c.lots[i], c.contents[i])
        into = put_content(into, c.s, c.contents[i], c.ends[i])
        into = put32(put32(into, 0), 0)
    return into


def copy_rows(batch, order, int32_t prefix_id, int32_t template_id, int64_t now, first=0, count=-1):
    cdef Columns_ c = columns_of(batch)
    cdef Py_ssize_t start, stop, n, size = 0
    cdef const uint32_t* wanted = numbers(order)
    cdef bytes made
    cdef uint8_t[50] head
    cdef uint8_t* into
    cdef uint8_t* end
    start, stop, _ = slice(first, len(order) if count < 0 else first + count).indices(len(order))
    if len(order) * 4 != PyBytes_Size(order.obj):
        raise ValueError("an order is given as sort_rows made it")
    stop = max(start, stop)
    for n in range(start, stop):
        if wanted[n] >= c.count:
            raise IndexError(wanted[n])
        size += FIXED + c.ends[wanted[n]] - c.suffixes[wanted[n]]
    made = PyBytes_FromStringAndSize(NULL, size)
    into = <uint8_t*>PyBytes_AsString(made)
    put_head(head, <uint32_t>prefix_id, <uint32_t>template_id, <uint64_t>now)
    with nogil:
        end = put_rows(into, head, &c, wanted + start, stop - start)
    return made[:end - into]

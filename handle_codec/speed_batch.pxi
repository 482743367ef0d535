"""Batches: three columns of 32-bit offsets are filled in one pass over the buffer."""

cdef object column(bytes data, str code):
    return memoryview(data).cast(code)


cdef Py_ssize_t count_lines(const uint8_t* s, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t lines = 0
    cdef const uint8_t* end = s + size
    while s < end:
        lines += 1
        s = <const uint8_t*>memchr(s, c'\n', end - s)
        if s == NULL:
            break
        s += 1
    return lines


def parse_batch(bytes buffer, bint issued=False):
    cdef Py_ssize_t size = PyBytes_Size(buffer), at = 0, row = 0, end, slash, rows
    cdef const uint8_t* s = <const uint8_t*>PyBytes_AsString(buffer)
    cdef const uint8_t* found
    cdef bytes starts, slashes, ends
    cdef uint32_t* start_of
    cdef uint32_t* slash_of
    cdef uint32_t* end_of
    if size > _MAX_BUFFER:
        raise ValueError(f"a batch has at most {_MAX_BUFFER} bytes")
    rows = count_lines(s, size)
    starts = PyBytes_FromStringAndSize(NULL, rows * 4)
    slashes = PyBytes_FromStringAndSize(NULL, rows * 4)
    ends = PyBytes_FromStringAndSize(NULL, rows * 4)
    start_of = <uint32_t*>PyBytes_AsString(starts)
    slash_of = <uint32_t*>PyBytes_AsString(slashes)
    end_of = <uint32_t*>PyBytes_AsString(ends)
    errors = []
    for row in range(rows):
        found = <const uint8_t*>memchr(s + at, c'\n', size - at)
        end = size if found == NULL else found - s
        start_of[row] = at
        end_of[row] = end - 1 if found != NULL and end > at and s[end - 1] == c'\r' else end
        slash = split_ascii(s + at, end_of[row] - at, issued)
        slash_of[row] = at + slash if slash >= 0 else look_closer(
            buffer[at:min(end_of[row], at + _MAX_LINE + 1)], issued, at, row, errors
        )
        at = end + 1
    return _Columns(buffer, column(starts, "I"), column(slashes, "I"), column(ends, "I"), errors)


cdef uint32_t look_closer(bytes line, bint issued, Py_ssize_t at, Py_ssize_t row, list errors) except *:
    """The slash of a line that is not plain ASCII or not right."""
    try:
        text = decoded(line)
        prefix, _ = pure.parse_issued(text) if issued else pure.parse(text)
    except InvalidHandle as error:
        errors.append((row, error.with_traceback(None)))  # see pure.parse_batch
        return 0xFFFFFFFFU
    return <uint32_t>(at + len(prefix))


def normalise_batch(bytes buffer, frozenset hosts=frozenset()):
    columns = parse_batch(buffer)
    # A line that parses and has no blank behind it is mended already; a buffer of nothing else is its own result.
    if not columns.errors and buffer.isascii() and b" \n" not in buffer and b"\r" not in buffer:
        if buffer.endswith(b"\n"):
            return columns
    return pure.normalise_batch(buffer, hosts)


def shard_batch(columns, home, spread):
    cdef Py_ssize_t rows = len(columns.starts), row
    cdef bytes buffer = columns.buffer, made
    cdef const uint8_t* s = <const uint8_t*>PyBytes_AsString(buffer)
    cdef bytes slashes = columns.slashes.obj, ends = columns.ends.obj
    cdef const uint32_t* slash_of = <const uint32_t*>PyBytes_AsString(slashes)
    cdef const uint32_t* end_of = <const uint32_t*>PyBytes_AsString(ends)
    cdef uint16_t* shard
    cdef uint64_t first, width
    cdef uint32_t size = <uint32_t>PyBytes_Size(buffer)
    check_layout(home, spread)
    if PyBytes_Size(slashes) != rows * 4 or PyBytes_Size(ends) != rows * 4:
        raise ValueError("the columns are not of one length")
    first, width = home, spread
    made = PyBytes_FromStringAndSize(NULL, rows * 2)
    shard = <uint16_t*>PyBytes_AsString(made)
    for row in range(rows):
        if slash_of[row] == 0xFFFFFFFFU:
            shard[row] = 0xFFFF
        elif slash_of[row] >= end_of[row] or end_of[row] > size:
            raise ValueError(f"row {row} does not lie in the buffer")
        elif width == 1:
            shard[row] = <uint16_t>first
        else:
            shard[row] = <uint16_t>(
                (first + xxh64(s + slash_of[row] + 1, end_of[row] - slash_of[row] - 1) % width) % SHARDS
            )
    return column(made, "H")

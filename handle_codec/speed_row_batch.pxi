"""A buffer of lines to columns. Memory is asked for as if each line were a sure row; what is not touched is free."""

cdef void take_lines(
    Output* out, const uint8_t* base, const uint8_t* s, Py_ssize_t size, Py_ssize_t limit
) noexcept nogil:
    cdef Reading row
    cdef const uint8_t* found
    cdef Py_ssize_t at = 0, end, next_, i
    row.last_found = NULL
    for i in range(MOST_SLOTS):
        row.guesses[i] = NO_RANK
    while at < size:
        found = <const uint8_t*>memchr(s + at, c'\n', size - at)
        end = size if found == NULL else found - s
        next_ = end + 1
        if end > at and s[end - 1] == c'\r':
            end -= 1
        if end - at > limit:
            doubt(out, 1, 0)
        elif skip(s, at, end) < end:
            if not take_line(out, base, s, at, end, &row):
                doubt(out, at, end)
        else:
            out.row -= 1  # blank: a line, not a row
        out.row += 1
        out.line += 1
        at = next_


cdef inline void doubt(Output* out, Py_ssize_t start, Py_ssize_t end) noexcept nogil:
    cdef uint32_t* noted = out.doubts + 4 * out.unsure
    noted[0], noted[1], noted[2], noted[3] = out.row, out.line, <uint32_t>start, <uint32_t>end
    out.unsure += 1


cdef object cut(void* numbers, Py_ssize_t count, str code):
    return column(PyBytes_FromStringAndSize(<const char*>numbers, count * (2 if code == "H" else 4)), code)


def decode_rows(plan, bytes data, uint32_t row=0, uint32_t line=0, limit=_LINE_LIMIT):
    cdef bytes program = plan.program
    cdef const uint8_t* base = <const uint8_t*>PyBytes_AsString(program)
    cdef const uint8_t* s = <const uint8_t*>PyBytes_AsString(data)
    cdef Py_ssize_t size = PyBytes_Size(data), most = limit, lines, sure, i
    cdef bytes made, columns, doubts
    cdef Output out
    cdef uint32_t* noted
    if size > _MAX_BUFFER:
        raise ValueError(f"a batch has at most {_MAX_BUFFER} bytes")
    lines = count_lines(s, size)
    sure = min(lines, size // LEAST_ROW)
    made = PyBytes_FromStringAndSize(NULL, size)
    columns = PyBytes_FromStringAndSize(NULL, sure * 26)
    doubts = PyBytes_FromStringAndSize(NULL, lines * 16)
    out.bytes_, out.used = <uint8_t*>PyBytes_AsString(made), 0
    out.rows = <uint32_t*>PyBytes_AsString(columns)
    out.lines, out.suffixes, out.lots = out.rows + sure, out.rows + 2 * sure, out.rows + 3 * sure
    out.contents, out.ends = out.rows + 4 * sure, out.rows + 5 * sure
    out.shards = <uint16_t*>(out.rows + 6 * sure)
    out.doubts = <uint32_t*>PyBytes_AsString(doubts)
    out.sure = out.unsure = 0
    out.row, out.line = row, line
    with nogil:
        take_lines(&out, base, s, size, most)
    unsure = []
    for i in range(out.unsure):
        noted = out.doubts + 4 * i
        raw = None if noted[2] > noted[3] else data[noted[2]:noted[3]]
        unsure.append(_Unsure(noted[0], noted[1], raw))
    return _RowBatch(
        PyBytes_FromStringAndSize(<const char*>out.bytes_, out.used),
        cut(out.rows, out.sure, "I"),
        cut(out.lines, out.sure, "I"),
        cut(out.shards, out.sure, "H"),
        cut(out.suffixes, out.sure, "I"),
        cut(out.lots, out.sure, "I"),
        cut(out.contents, out.sure, "I"),
        cut(out.ends, out.sure, "I"),
        unsure,
        out.row - row,
        out.line - line,
    )

# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The functions of `pure`, compiled. `pure` is the specification; tests hold the two equal.

Most functions know the usual, right form alone; whatever is not that they hand to `pure`, which then gives the reading or
the refusal. So a refusal here is `pure`'s own, and only what is accepted here has to be right.
"""

from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_New, PyTuple_SetItem
from cpython.unicode cimport PyUnicode_Substring
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy

from handle_codec import pure
from handle_codec.columns import MAX_BUFFER as _MAX_BUFFER
from handle_codec.columns import Columns as _Columns
from handle_codec.columns import RowBatch as _RowBatch
from handle_codec.columns import Unsure as _Unsure
from handle_codec.errors import InvalidHandle
from handle_codec.names import NAMES as _NAMES
from handle_codec.pure.batch import MAX_LINE as _MAX_LINE
from handle_codec.pure.batch import decoded
from handle_codec.pure import contents as _contents
from handle_codec.pure import ff1 as _ff1
from handle_codec.pure import gs1 as _gs1
from handle_codec.pure import shards as _shards
from handle_codec.pure.rows import LINE_LIMIT as _LINE_LIMIT

__all__ = pure.__all__

cdef extern from "Python.h":
    char* PyBytes_AsString(object)
    Py_ssize_t PyBytes_Size(object)
    object PyBytes_FromStringAndSize(const char*, Py_ssize_t)
    char* PyByteArray_AsString(object)
    object PyUnicode_FromStringAndSize(const char*, Py_ssize_t)
    Py_ssize_t PyUnicode_GetLength(object)  # -1 with an exception: no text
    const char* PyUnicode_AsUTF8AndSize(object, Py_ssize_t*)  # NULL with an exception: a lone surrogate
    long long PyLong_AsLongLong(object)  # -1 with an exception, or -1
    void PyErr_Clear()

cdef enum:
    MAX_HANDLE = 255
    MAX_PREFIX = 64
    MAX_ISSUED = 200
    MAX_TEXT = 2048
    SHARDS = 1024


cdef const uint8_t* utf8(object text, Py_ssize_t* size) noexcept:
    """The text's UTF-8, kept by the object itself; NULL for a lone surrogate, for what is longer than anything that
    is read (its UTF-8 would be made in full), and for what is no text at all."""
    cdef const char* data = NULL
    cdef Py_ssize_t length = PyUnicode_GetLength(text)
    if 0 <= length <= MAX_TEXT:
        data = PyUnicode_AsUTF8AndSize(text, size)
    elif length > MAX_TEXT:
        return NULL
    if data == NULL:
        PyErr_Clear()
    return <const uint8_t*>data


include "speed_handles.pxi"
include "speed_shards.pxi"
include "speed_batch.pxi"
include "speed_gs1.pxi"
include "speed_link.pxi"
include "speed_ff1.pxi"
include "speed_row_values.pxi"
include "speed_rows.pxi"
include "speed_row_lines.pxi"
include "speed_row_batch.pxi"
include "speed_row_lots.pxi"
include "speed_contents.pxi"
include "speed_restored.pxi"
include "speed_row_copy.pxi"

for _name in __all__:
    globals()[_name].__doc__ = getattr(pure, _name).__doc__

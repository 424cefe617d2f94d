"""Arrow columns as rows in PostgreSQL's binary COPY form."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TAIL = b"\xff\xff"
_DATE_EPOCH = 10_957  # days from 1970-01-01 to 2000-01-01
_TIME_EPOCH = 946_684_800_000_000  # the same in microseconds


def _pieces(octets: NDArray[np.uint8], kept: NDArray[np.bool_] | None = None) -> pa.Array:
    """One binary value per row of a byte matrix; `kept` masks bytes out."""
    count, width = octets.shape
    if kept is None:
        offsets = np.arange(0, (count + 1) * width, max(width, 1), dtype=np.int32)[: count + 1]
        data = octets.tobytes()
    else:
        offsets = np.concatenate([[0], np.cumsum(kept.sum(axis=1))]).astype(np.int32)
        data = octets[kept].tobytes()
    return pa.BinaryArray.from_buffers(
        pa.binary(), count, [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    )


def _fixed(found: NDArray[Any], valid: NDArray[np.bool_]) -> list[pa.Array]:
    """Values of one width: a length of 4 bytes (-1 for null), then the value big-endian."""
    width = found.dtype.itemsize
    rows = np.zeros(len(found), dtype=[("length", ">i4"), ("value", found.dtype)])
    rows["length"] = np.where(valid, width, -1)
    rows["value"] = found
    octets = rows.view(np.uint8).reshape(len(found), 4 + width)
    if valid.all():
        return [_pieces(octets)]
    kept = np.ones(octets.shape, bool)
    kept[~valid, 4:] = False
    return [_pieces(octets, kept)]


def _column(column: pa.Array) -> list[pa.Array]:
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    kind = column.type
    if pa.types.is_string(kind):
        lengths = pc.fill_null(pc.binary_length(column), -1).to_numpy().astype(">i4")
        texts = pc.fill_null(column.cast(pa.binary()), b"")
        return [_pieces(lengths.view(np.uint8).reshape(len(column), 4)), texts]
    if pa.types.is_fixed_size_binary(kind):
        filled = pc.fill_null(column, bytes(kind.byte_width))
        octets = np.frombuffer(filled.buffers()[1], np.uint8)
        begin = filled.offset * kind.byte_width
        end = begin + len(column) * kind.byte_width
        return _fixed(octets[begin:end].view(f"V{kind.byte_width}"), valid)
    if pa.types.is_boolean(kind):
        flags = pc.fill_null(column, False).to_numpy(zero_copy_only=False)
        return _fixed(flags.astype("u1"), valid)
    if pa.types.is_float64(kind):
        return _fixed(pc.fill_null(column, 0.0).to_numpy().astype(">f8"), valid)
    if pa.types.is_date32(kind):
        days = pc.fill_null(column.cast(pa.int32()), _DATE_EPOCH).to_numpy()
        return _fixed((days - _DATE_EPOCH).astype(">i4"), valid)
    whole = pc.fill_null(column.cast(pa.int64()), 0).to_numpy()
    if pa.types.is_timestamp(kind):
        whole = whole - _TIME_EPOCH
    return _fixed(whole.astype(">i8"), valid)


def encode(columns: Sequence[pa.Array]) -> memoryview:
    """The rows of columns of equal length, between HEAD and TAIL of a COPY in binary form."""
    count = len(columns[0])
    if not count:
        return memoryview(b"")
    width = np.full(count, len(columns), ">i2").view(np.uint8).reshape(count, 2)
    parts = [_pieces(width)]
    for column in columns:
        parts.extend(_column(column))
    rows = pc.binary_join_element_wise(*parts, b"")
    offsets = np.frombuffer(rows.buffers()[1], np.int32)
    return memoryview(rows.buffers()[2])[int(offsets[0]) : int(offsets[count])]

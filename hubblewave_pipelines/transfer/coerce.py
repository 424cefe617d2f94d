"""Columns of text to validated columns of a field's type, by Arrow kernels.

The kernels only ever accept, and only what `core.values.from_text` accepts with the same value;
every other cell goes through `from_text` itself, once per distinct text, for decision and message.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hubblewave_pipelines.core import values
from hubblewave_pipelines.core.entity import Field, FieldKind
from hubblewave_pipelines.core.values import ORDERED_KINDS, TEXT_KINDS, Refused

UNIQUE_BYTES = 2_600  # what a B-tree entry holds for certain; PostgreSQL refuses about 2,700
_KEEPS_SPACES = frozenset({FieldKind.TEXT, FieldKind.LONGTEXT})
# Years of four digits that begin with 1 to 9: what Python and Arrow understand alike.
_DATE = r"[1-9][0-9]{3}-[0-9]{2}-[0-9]{2}"
_TIME = r"[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?"
_UTC_US = pa.timestamp("us", "UTC")

# The Arrow type in which a kind travels to PostgreSQL; decimals and JSON travel as text.
ARROW_TYPES: Mapping[FieldKind, pa.DataType] = {
    FieldKind.TEXT: pa.string(),
    FieldKind.LONGTEXT: pa.string(),
    FieldKind.INTEGER: pa.int64(),
    FieldKind.NUMBER: pa.float64(),
    FieldKind.DECIMAL: pa.string(),
    FieldKind.BOOLEAN: pa.bool_(),
    FieldKind.DATE: pa.date32(),
    FieldKind.DATETIME: _UTC_US,
    FieldKind.EMAIL: pa.string(),
    FieldKind.URL: pa.string(),
    FieldKind.UUID: pa.binary(16),
    FieldKind.JSON: pa.string(),
    FieldKind.ENUM: pa.string(),
}


@dataclass(frozen=True, slots=True)
class CellFault:
    """Why the cell at `index` of a column is refused."""

    index: int
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Coerced:
    """One column: `values` is null where the cell was empty or refused."""

    values: pa.Array
    faults: list[CellFault]


def coerce(field: Field, cells: pa.Array, *, trim: bool | None = None) -> Coerced:
    """Validate a column of text cells (null: empty) as values of `field`."""
    if trim if trim is not None else field.kind not in _KEEPS_SPACES:
        cells = pc.utf8_trim_whitespace(cells)
    if field.kind not in _KEEPS_SPACES:
        cells = pc.if_else(pc.equal(cells, ""), pa.scalar(None, pa.string()), cells)
    fast = _accepted(field, cells)
    return _one_by_one(field, cells, fast, lambda text: values.from_text(field, text))


def _accepted(field: Field, cells: pa.Array) -> pa.Array | None:
    """Values where the kernels accept, null elsewhere; None when they can say nothing."""
    kernel = _KERNELS[field.kind]
    if kernel is None:
        return None
    try:
        found = _within(field, kernel(cells), cells)
    except (pa.ArrowInvalid, OverflowError, Refused):
        return None  # a date like 2026-02-30 somewhere, or a bound no kernel can compare with
    if field.kind in TEXT_KINDS:
        found = _ruled(field, found)
    return found


def _where(condition: pa.Array, cells: pa.Array) -> pa.Array:
    return pc.if_else(condition, cells, pa.scalar(None, cells.type))


def _matching(expression: str, cells: pa.Array) -> pa.Array:
    return _where(pc.match_substring_regex(cells, rf"\A(?:{expression})\z"), cells)


def _short(limit: int, cells: pa.Array) -> pa.Array:
    return _where(pc.less_equal(pc.utf8_length(cells), limit), cells)


def _booleans(cells: pa.Array) -> pa.Array:
    words = pc.ascii_lower(cells)
    true = pc.is_in(words, value_set=pa.array(sorted(values.TRUE_WORDS)))
    false = pc.is_in(words, value_set=pa.array(sorted(values.FALSE_WORDS)))
    return _where(pc.or_(true, false), true)


def _datetimes(cells: pa.Array) -> pa.Array:
    zoned = _matching(rf"{_DATE}[T ]{_TIME}Z", cells)
    if zoned.null_count == cells.null_count:
        return zoned.cast(_UTC_US)
    local = _matching(rf"{_DATE}[T ]{_TIME}", cells).cast(pa.timestamp("us"))
    return pc.coalesce(zoned.cast(_UTC_US), pc.assume_timezone(local, "UTC"))


def _uuids(cells: pa.Array) -> pa.Array:
    found = _matching(values.UUID_TEXT, cells)
    digits = pc.fill_null(pc.replace_substring(found, "-", ""), "0" * 32)
    octets = bytes.fromhex("".join(digits.to_pylist()))
    whole = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(16), len(cells), [None, pa.py_buffer(octets)]
    )
    return _where(found.is_valid(), whole)


_KERNELS: Mapping[FieldKind, Callable[[pa.Array], pa.Array] | None] = {
    FieldKind.TEXT: lambda cells: cells,
    FieldKind.LONGTEXT: lambda cells: cells,
    FieldKind.INTEGER: lambda cells: _matching(r"-?[0-9]{1,18}", cells).cast(pa.int64()),
    FieldKind.NUMBER: lambda cells: _matching(r"-?[0-9]{1,15}(\.[0-9]{1,15})?", cells).cast(
        pa.float64()
    ),
    FieldKind.DECIMAL: lambda cells: _matching(r"-?[0-9]{1,15}(\.[0-9]{1,15})?", cells),
    FieldKind.BOOLEAN: _booleans,
    FieldKind.DATE: lambda cells: _matching(_DATE, cells).cast(pa.date32()),
    FieldKind.DATETIME: _datetimes,
    FieldKind.EMAIL: lambda cells: _short(values.EMAIL_LENGTH, _matching(values.EMAIL, cells)),
    FieldKind.URL: lambda cells: _short(values.URL_LENGTH, _matching(values.URL, cells)),
    FieldKind.UUID: _uuids,
    FieldKind.JSON: None,
    FieldKind.ENUM: lambda cells: cells,
}


def _ruled(field: Field, found: pa.Array) -> pa.Array:
    """Without the texts that break the length, pattern or enum of the field."""
    if field.max_length is not None:
        found = _short(field.max_length, found)
    if field.pattern is not None:
        found = _matching(field.pattern, found)
    if field.kind is FieldKind.ENUM:
        found = _where(pc.is_in(found, value_set=pa.array(field.enum, pa.string())), found)
    return found


def _within(field: Field, found: pa.Array, cells: pa.Array) -> pa.Array:
    """Without the values outside min and max."""
    if field.kind not in ORDERED_KINDS or (field.min is None and field.max is None):
        return found
    compared = found.cast(pa.decimal128(31, 15)) if field.kind is FieldKind.DECIMAL else found
    for bound, compare in ((field.min, pc.greater_equal), (field.max, pc.less_equal)):
        if bound is not None:
            edge = pa.scalar(values.limit(field, bound), compared.type)
            found = _where(compare(compared, edge), found)
    return found


def _one_by_one(
    field: Field, cells: pa.Array, fast: pa.Array | None, read: Callable[[str], object]
) -> Coerced:
    """`fast` completed by reading each distinct text that it leaves open."""
    kind = ARROW_TYPES[field.kind]
    faults = _unindexable(field, cells)
    if fast is None:
        fast = pa.nulls(len(cells), kind)
    open_cells = pc.and_(cells.is_valid(), fast.is_null())
    indices = np.flatnonzero(open_cells.to_numpy(zero_copy_only=False))
    if not len(indices):
        return Coerced(fast, faults)
    known: dict[str, object] = {}
    found: list[object] = []
    for index, text in zip(indices.tolist(), cells.filter(open_cells).to_pylist(), strict=True):
        if text not in known:
            try:
                known[text] = _carried(field.kind, read(text))
            except Refused as refused:
                known[text] = refused
        value = known[text]
        if isinstance(value, Refused):
            faults.append(CellFault(index, value.code, value.detail))
            value = None
        found.append(value)
    return Coerced(pc.replace_with_mask(fast, open_cells, pa.array(found, kind)), faults)


def _carried(kind: FieldKind, value: object) -> object:
    """The value in its travelling form (see ARROW_TYPES)."""
    if isinstance(value, UUID) and kind is FieldKind.UUID:
        return value.bytes
    if isinstance(value, Decimal):
        return format(value, "f")
    if kind is FieldKind.JSON:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    return value


def _unindexable(field: Field, cells: pa.Array) -> list[CellFault]:
    """Texts too long for the index of a unique field."""
    if not field.unique or field.kind not in TEXT_KINDS:
        return []
    long = pc.fill_null(pc.greater(pc.binary_length(cells), UNIQUE_BYTES), False)
    if not pc.any(long).as_py():
        return []
    detail = f"is too long for a unique field; at most {UNIQUE_BYTES} bytes"
    indices = np.flatnonzero(long.to_numpy(zero_copy_only=False)).tolist()
    return [CellFault(index, "length", detail) for index in indices]

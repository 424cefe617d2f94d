"""A chunk of a file made ready for its merge: validated columns, new ids, refused rows aside."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hubblewave_pipelines.core.entity import Catalog, Entity, Field, FieldKind
from hubblewave_pipelines.core.import_ids import record_ids
from hubblewave_pipelines.core.import_options import DuplicateStrategy, ImportOptions
from hubblewave_pipelines.core.mapping import FieldMap, OnMissing
from hubblewave_pipelines.storage.merging import RowFault
from hubblewave_pipelines.transfer.coerce import coerce
from hubblewave_pipelines.transfer.copy_rows import encode
from hubblewave_pipelines.transfer.records import RecordChunk
from hubblewave_pipelines.transfer.rows import Chunk
from hubblewave_pipelines.transfer.transforming import transformed, whole

_DAY = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"


@dataclass(frozen=True)
class PreparedChunk:
    """`rows` are those that passed, in binary COPY form; `faults` tell of the others."""

    source: Chunk
    rows: memoryview
    faults: list[RowFault]

    @property
    def offset_start(self) -> int:
        return self.source.offset_start

    @property
    def offset_end(self) -> int:
        return self.source.offset_end

    @property
    def first_row(self) -> int:
        return self.source.first_row

    @property
    def count(self) -> int:
        return self.source.rows

    def raw(self, row: int) -> str:
        return self.source.raw(row)


@dataclass(frozen=True, slots=True)
class _Column:
    """How the cells of one mapping are read."""

    m: FieldMap
    field: Field
    required: bool
    lenient: bool  # a cell that cannot be a key of the lookup is as good as missing


@dataclass(frozen=True)
class ReadChunk:
    """The rows of a chunk that passed, as one array for each mapping; `faults` tell of the others."""

    numbers: NDArray[np.int64]
    arrays: list[pa.Array]
    faults: list[RowFault]

    def encoded(self, first: int = 0, stop: int | None = None) -> memoryview:
        """Rows `first` to `stop` in binary COPY form, with new ids."""
        numbers = self.numbers[first:stop]
        ids = record_ids(numbers, unix_ms=time.time_ns() // 1_000_000)
        id_column = pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(16), len(numbers), [None, pa.py_buffer(ids.tobytes())]
        )
        arrays = [array.slice(first, len(numbers)) for array in self.arrays]
        return encode([pa.array(numbers, pa.int64()), id_column, *arrays])


class Preparation:
    """Chunks of one import to PreparedChunks. Pure but for the ids it makes."""

    def __init__(
        self,
        entity: Entity,
        catalog: Catalog,
        maps: Sequence[FieldMap],
        options: ImportOptions,
        *,
        typed: bool = False,
    ) -> None:
        """`typed`: dates of the file had a type, and cells are what its reader made of them."""
        self._typed = typed
        # In a merge an empty cell keeps what the record has, so only the merge can tell.
        merging = options.detect_duplicates and options.strategy is DuplicateStrategy.MERGE
        self._columns = [_column(entity, catalog, m, merging=merging) for m in maps]

    def prepare(self, chunk: Chunk) -> PreparedChunk:
        found = self.read(chunk)
        return PreparedChunk(chunk, found.encoded(), found.faults)

    def read(self, chunk: Chunk) -> ReadChunk:
        """The values of a chunk, validated."""
        faults = [RowFault(row.row, "", row.code, row.message) for row in chunk.malformed]
        numbers = chunk.row_numbers
        refused = np.zeros(len(numbers), bool)
        arrays = [self._read(column, chunk, numbers, refused, faults) for column in self._columns]
        if refused.any():
            kept = pa.array(~refused)
            arrays = [array.filter(kept) for array in arrays]
            numbers = numbers[~refused]
        return ReadChunk(numbers, arrays, faults)

    def _read(
        self,
        column: _Column,
        chunk: Chunk,
        numbers: NDArray[np.int64],
        refused: NDArray[np.bool_],
        faults: list[RowFault],
    ) -> pa.Array:
        """The values of one column; marks `refused` and adds to `faults`."""
        m = column.m
        columns = {name: whole(chunk.table.column(name)) for name in m.columns}
        broken: set[int] = set()
        if isinstance(chunk, RecordChunk):  # CSV rows with a NUL were refused where they were cut
            for index in sorted({i for cells in columns.values() for i in _with_nul(cells)}):
                refused[index] = True
                broken.add(index)
                message = f"{m.target} holds a NUL character"
                faults.append(RowFault(int(numbers[index]), m.target, "nul", message))
        made = transformed(m, columns, len(numbers), column.field.kind, iso=self._typed)
        cells = _as_dated(column.field.kind, made.cells) if self._typed else made.cells
        found = coerce(column.field, cells, trim=m.trim)
        for fault in [*made.faults, *([] if column.lenient else found.faults)]:
            if fault.index in broken:
                continue
            broken.add(fault.index)
            refused[fault.index] = True
            message = f"{m.target} {fault.detail}"
            faults.append(RowFault(int(numbers[fault.index]), m.target, fault.code, message))
        if column.required and found.values.null_count:
            empty = np.flatnonzero(pc.is_null(found.values).to_numpy(zero_copy_only=False))
            for index in empty.tolist():
                if index not in broken:
                    refused[index] = True
                    message = f"{m.target} is required, and {', '.join(m.columns)} is empty"
                    faults.append(RowFault(int(numbers[index]), m.target, "required", message))
        return found.values


def _with_nul(cells: pa.Array) -> list[int]:
    found = pc.fill_null(pc.match_substring(cells, "\0"), False)
    return list(np.flatnonzero(found.to_numpy(zero_copy_only=False)).tolist())


def _as_dated(kind: FieldKind, cells: pa.Array) -> pa.Array:
    """A workbook has no days apart from moments: midnight is a day, and a day is its midnight."""
    if kind is FieldKind.DATETIME:
        return pc.replace_substring_regex(cells, rf"\A({_DAY})\z", r"\1T00:00:00")
    if kind is FieldKind.DATE:
        return pc.replace_substring_regex(cells, rf"\A({_DAY})[T ]00:00:00\z", r"\1")
    return cells


def _column(entity: Entity, catalog: Catalog, m: FieldMap, *, merging: bool) -> _Column:
    field = entity.fields_by_name.get(m.target)
    if field is not None:
        needed = field.required and field.default is None and not merging
        return _Column(m, field, needed, lenient=False)
    reference = entity.references[m.target]
    lenient = False
    key = Field(id="", name=m.target, kind=FieldKind.UUID)
    if m.lookup is not None:
        other = catalog.named(m.lookup.entity)
        if other is None:
            raise LookupError(f"{m.lookup.entity} is gone")
        key = Field(id="", name=m.target, kind=other.fields_by_name[m.lookup.by].kind)
        lenient = m.lookup.on_missing is OnMissing.NULL
    return _Column(m, key, reference.required and not merging, lenient)

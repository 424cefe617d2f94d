"""Records, one after another, to chunks: what the readers of all formats but CSV have in common."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hubblewave_pipelines.transfer.cells import Cell, MalformedRow, Record
from hubblewave_pipelines.transfer.rows import CHUNK_BYTES, Chunk

RAW_COLUMN = "\0raw"  # no column of a file can be called so
NUMBERS = "\0row"  # the column of row numbers on the way between processes
ALL_COLUMNS = 100  # up to so many columns of a file are all read, so that refused rows show them


@dataclass(frozen=True)
class RecordChunk(Chunk):
    """Records as a reader gave them. Offsets are numbers of records that lie behind."""

    def raw(self, row: int) -> str:
        index = int(np.searchsorted(self.row_numbers, row))
        if index == len(self.row_numbers) or self.row_numbers[index] != row:
            return next((bad.raw for bad in self.malformed if bad.row == row), "")
        cells = self.table.slice(index, 1).to_pylist()[0]
        raw = cells.pop(RAW_COLUMN, None)
        return raw if raw is not None else json.dumps(cells, ensure_ascii=False)


@dataclass
class Batch:
    """Records on their way into a chunk."""

    columns: Sequence[str]
    with_raw: bool
    after: int  # the number of the last record before
    numbers: list[int] = field(default_factory=list)
    cells: list[Sequence[Cell]] = field(default_factory=list)
    raws: list[str] = field(default_factory=list)
    malformed: list[MalformedRow] = field(default_factory=list)
    size: int = 0
    last: int = 0

    def add(self, record: Record) -> None:
        self.last = record.number
        if record.fault is not None:
            code, message = record.fault
            self.malformed.append(MalformedRow(record.number, code, message, record.raw or ""))
            self.size += len(record.raw or "")
            return
        self.numbers.append(record.number)
        self.cells.append(record.cells)
        if self.with_raw:
            self.raws.append(record.raw or "")
            self.size += len(record.raw or "")
        else:
            self.size += sum(len(cell) for cell in record.cells if cell is not None)

    @property
    def count(self) -> int:
        return len(self.numbers) + len(self.malformed)

    def table(self) -> pa.Table:
        by_column = list(zip(*self.cells, strict=True)) if self.cells else [()] * len(self.columns)
        arrays = [pa.array(cells, pa.string()) for cells in by_column]
        names = list(self.columns)
        if self.with_raw:
            arrays.append(pa.array(self.raws, pa.string()))
            names.append(RAW_COLUMN)
        return pa.table(arrays, names=names)


@dataclass(frozen=True, slots=True)
class Step:
    """What a reader in a process of its own sends: a chunk but for what its parent knows."""

    after: int
    last: int
    rows: int
    bytes_done: int
    table: pa.Table
    numbers: NDArray[np.int64]
    malformed: list[MalformedRow]

    def chunk(self) -> RecordChunk:
        return RecordChunk(
            offset_start=self.after,
            offset_end=self.last,
            first_row=self.after + 1,
            next_row=self.last + 1,
            rows=self.rows,
            bytes_done=self.bytes_done,
            table=self.table,
            row_numbers=self.numbers,
            malformed=self.malformed,
        )


def steps(
    records: Iterable[tuple[Record, int]],
    columns: Sequence[str],
    *,
    after: int,
    chunk_rows: int,
    with_raw: bool,
) -> Iterator[Step]:
    """Steps of at most `chunk_rows` records; `records` come with the bytes read so far."""
    batch, done = Batch(columns, with_raw, after), 0
    for record, done in records:
        batch.add(record)
        if batch.count == chunk_rows or batch.size >= CHUNK_BYTES:
            yield _step(batch, done)
            batch = Batch(columns, with_raw, batch.last)
    if batch.count:
        yield _step(batch, done)


def _step(batch: Batch, done: int) -> Step:
    return Step(
        after=batch.after,
        last=batch.last,
        rows=batch.count,
        bytes_done=done,
        table=batch.table(),
        numbers=np.array(batch.numbers, np.int64),
        malformed=batch.malformed,
    )

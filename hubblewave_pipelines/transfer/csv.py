"""A CSV file as chunks: whole records with exact numbers, as Arrow columns of text.

Memory holds one chunk, whatever the file. A chunk ends after so many records or bytes, so where
chunks end depends on the file and these two numbers only, and any chunk's end is a place to resume.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.csv

from hubblewave_pipelines.core.errors import ImportFailed
from hubblewave_pipelines.transfer.formats import RECORD_LIMIT, Dialect, Header
from hubblewave_pipelines.transfer.scanning import TOO_LONG, Positions, Reason, scan

CHUNK_BYTES = 16 << 20
_WINDOW = 4 << 20
_RAW_SHOWN = 2_000  # bytes of a refused row that are kept


@dataclass(frozen=True, slots=True)
class MalformedRow:
    """A record that could not be cut into the header's columns. `row` counts data rows from 1."""

    row: int
    code: str
    message: str
    raw: str


@dataclass(frozen=True, slots=True)
class _Piece:
    """Records of one read: positions are in `data`, `refused` by index of the record."""

    data: bytes
    starts: Positions
    ends: Positions
    columns: Positions
    refused: dict[int, Reason]

    def cut(self, first: int, last: int) -> "_Piece":
        chosen = {i - first: why for i, why in self.refused.items() if first <= i < last}
        parts = (self.starts[first:last], self.ends[first:last], self.columns[first:last])
        return _Piece(self.data, *parts, chosen)


@dataclass(frozen=True)
class Chunk:
    """Consecutive records. `table` holds those of the right form, `row_numbers` their numbers."""

    offset_start: int
    offset_end: int
    first_row: int
    rows: int  # records of any form
    table: pa.Table
    row_numbers: Positions
    malformed: list[MalformedRow]
    _pieces: list[_Piece] = field(repr=False)

    def raw(self, row: int) -> str:
        """The record as it is in the file (its beginning, if long)."""
        index = row - self.first_row
        for piece in self._pieces:
            if index < len(piece.starts):
                return shown(piece.data[piece.starts[index] : piece.ends[index]])
            index -= len(piece.starts)
        raise IndexError(row)


def shown(record: bytes) -> str:
    """A record as text that PostgreSQL can hold, cut when it is long."""
    cut = record[:_RAW_SHOWN].decode(errors="replace").replace("\0", "\ufffd")
    return cut + "..." if len(record) > _RAW_SHOWN else cut


class CsvFile:
    """One file with the columns that are wanted of it."""

    def __init__(
        self,
        path: Path,
        header: Header,
        *,
        columns: Sequence[str],
        null_values: Sequence[str] = (),
        window: int = _WINDOW,
    ) -> None:
        self.path = path
        self.header = header
        self._window = max(window, 1)
        self._convert = pyarrow.csv.ConvertOptions(
            check_utf8=False,  # checked per record, so that a bad one is refused and not the file
            include_columns=list(dict.fromkeys(columns)),
            column_types={name: pa.string() for name in header.names},
            null_values=["", *null_values],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        )

    def chunks(
        self, *, chunk_rows: int, offset: int | None = None, first_row: int = 1
    ) -> Iterator[Chunk]:
        """Chunks from byte `offset` (a chunk's end, or the first row by default) to the end.

        Raises ImportFailed when the file cannot be read.
        """
        position = self.header.offset if offset is None else offset
        kept: list[_Piece] = []
        count, start, row = 0, position, first_row
        for base, piece in self._pieces(position):
            done = 0
            while done < len(piece.starts):
                room = chunk_rows - count
                full = start + CHUNK_BYTES - base
                by_bytes = int(np.searchsorted(piece.ends[done:], full)) + 1
                last = min(len(piece.starts), done + min(room, by_bytes))
                kept.append(piece.cut(done, last))
                count += last - done
                end = base + int(piece.ends[last - 1])
                done = last
                if count == chunk_rows or end - start >= CHUNK_BYTES:
                    yield self._chunk(kept, start, end, row, count)
                    kept, row, start, count = [], row + count, end, 0
        if count:
            yield self._chunk(kept, start, self.header.size, row, count)

    def _pieces(self, offset: int) -> Iterator[tuple[int, _Piece]]:
        """Pieces of records with the byte at which each piece's data begin."""
        try:
            with self.path.open("rb") as file:
                file.seek(offset)
                yield from self._read(file, offset)
        except OSError as error:
            raise ImportFailed(f"The uploaded file cannot be read: {error.strerror}.") from error

    def _read(self, file: BinaryIO, base: int) -> Iterator[tuple[int, _Piece]]:
        data = b""
        while True:
            block = file.read(self._window)
            data += block
            found = scan(data, self.header.dialect, final=not block)
            if len(found.starts):
                parts = (found.starts, found.ends, found.columns)
                yield base, _Piece(data, *parts, found.refused)
            if found.overflow is not None:
                yield (
                    base + found.consumed,
                    self._skip(file, data[found.consumed :], found.overflow),
                )
                base = file.tell()
                data = b""
                continue
            base, data = base + found.consumed, data[found.consumed :]
            if not block:
                return

    def _skip(self, file: BinaryIO, line: bytes, reason: Reason) -> _Piece:
        """The rest of a refused line is read and dropped; the file is left at its end."""
        length = len(line)
        while block := file.read(self._window):
            stops = [at for at in (block.find(b"\n"), block.find(b"\r")) if at >= 0]
            if stops:
                file.seek(min(stops) - len(block), 1)
                length += min(stops)
                break
            length += len(block)
        why = TOO_LONG if length > RECORD_LIMIT else reason
        one = np.array([length], np.int64)
        return _Piece(line[: _RAW_SHOWN + 1], one * 0, one, one * 0, {0: why})

    def _chunk(self, pieces: list[_Piece], start: int, end: int, row: int, count: int) -> Chunk:
        tables: list[pa.Table] = []
        numbers: list[Positions] = []
        malformed: list[MalformedRow] = []
        first = row
        for piece in pieces:
            good = self._well_formed(piece, first, malformed)
            if good.any():
                tables.append(self._table(piece, good))
                numbers.append(np.flatnonzero(good) + first)
            first += len(piece.starts)
        table = pa.concat_tables(tables).combine_chunks() if tables else self._nothing()
        return Chunk(
            offset_start=start,
            offset_end=end,
            first_row=row,
            rows=count,
            table=table,
            row_numbers=np.concatenate(numbers) if numbers else np.zeros(0, np.int64),
            malformed=malformed,
            _pieces=pieces,
        )

    def _nothing(self) -> pa.Table:
        names = self._convert.include_columns
        return pa.table({name: pa.array([], pa.string()) for name in names})

    def _well_formed(
        self, piece: _Piece, first: int, malformed: list[MalformedRow]
    ) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Which records can be parsed; the others are added to `malformed`."""
        width = len(self.header.names)
        good = np.asarray(piece.columns == width)
        for index in _undecodable(piece):
            good[index] = False
        for index in np.flatnonzero(~good).tolist():
            record = piece.data[piece.starts[index] : piece.ends[index]]
            code, message = piece.refused.get(index) or _reason(record, piece.columns[index], width)
            malformed.append(MalformedRow(first + index, code, message, shown(record)))
        return good

    def _table(self, piece: _Piece, good: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> pa.Table:
        if good.all():
            text = pa.py_buffer(piece.data).slice(
                int(piece.starts[0]), int(piece.ends[-1] - piece.starts[0])
            )
        else:
            view = memoryview(piece.data)
            spans = zip(piece.starts[good].tolist(), piece.ends[good].tolist(), strict=True)
            text = pa.py_buffer(b"\n".join(view[start:end] for start, end in spans))
        return pyarrow.csv.read_csv(
            pa.BufferReader(text),
            read_options=pyarrow.csv.ReadOptions(
                use_threads=False,
                column_names=list(self.header.names),
                block_size=max(text.size + 1, 1024),
            ),
            parse_options=_parsing(self.header.dialect, piece.data),
            convert_options=self._convert,
        )


def _parsing(dialect: Dialect, data: bytes) -> pyarrow.csv.ParseOptions:
    return pyarrow.csv.ParseOptions(
        delimiter=dialect.delimiter,
        quote_char=dialect.quote,
        double_quote=True,
        newlines_in_values=dialect.quote.encode() in data,
    )


def _undecodable(piece: _Piece) -> list[int]:
    """Records that hold a NUL byte or are not UTF-8."""
    found: set[int] = set()
    if b"\0" in piece.data:
        nuls = np.flatnonzero(np.frombuffer(piece.data, np.uint8) == 0)
        index = np.searchsorted(piece.ends, nuls, side="right")
        found.update(
            int(i) for i, at in zip(index, nuls, strict=True) if _within(piece, int(i), int(at))
        )
    if not piece.data.isascii():
        records = zip(piece.starts.tolist(), piece.ends.tolist(), strict=True)
        if not _decodes(piece.data[int(piece.starts[0]) : int(piece.ends[-1])]):
            wrong = (i for i, (s, e) in enumerate(records) if not _decodes(piece.data[s:e]))
            found.update(wrong)
    return sorted(found)


def _within(piece: _Piece, index: int, position: int) -> bool:
    return index < len(piece.starts) and bool(piece.starts[index] <= position)


def _decodes(record: bytes) -> bool:
    try:
        record.decode()
    except UnicodeDecodeError:
        return False
    return True


def _reason(record: bytes, columns: int, width: int) -> Reason:
    if b"\0" in record:
        return "nul", f"the row holds a NUL byte at byte {record.index(0) + 1}"
    try:
        record.decode()
    except UnicodeDecodeError as error:
        return "encoding", f"the row is not UTF-8: byte {error.start + 1} is wrong"
    return "columns", f"the row has {columns} columns; the header has {width}"

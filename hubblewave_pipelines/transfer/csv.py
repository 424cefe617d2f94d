"""A CSV file as chunks: whole records with exact numbers, as Arrow columns of text.

Memory holds one chunk, whatever the file. A chunk ends after so many records or bytes, so where
chunks end depends on the file and these two numbers only, and any chunk's end is a place to resume.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.csv

from hubblewave_pipelines.transfer.cells import RAW_SHOWN, MalformedRow, shown
from hubblewave_pipelines.transfer.content import Content
from hubblewave_pipelines.transfer.csv_header import RECORD_LIMIT, Dialect, Header
from hubblewave_pipelines.transfer.rows import CHUNK_BYTES, Chunk
from hubblewave_pipelines.transfer.scanning import TOO_LONG, Positions, Reason, scan

_WINDOW = 4 << 20


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
class CsvChunk(Chunk):
    """Consecutive records of CSV text. Offsets are bytes of the text in UTF-8."""

    _pieces: list[_Piece] = field(repr=False)

    def raw(self, row: int) -> str:
        index = row - self.first_row
        for piece in self._pieces:
            if index < len(piece.starts):
                record = piece.data[piece.starts[index] : piece.ends[index]]
                return record.decode(errors="replace").replace("\0", "\ufffd")
            index -= len(piece.starts)
        raise IndexError(row)


class CsvFile:
    """One CSV file with the columns that are wanted of it. `open_content` begins it anew."""

    def __init__(
        self,
        open_content: Callable[[], Content],
        header: Header,
        *,
        columns: Sequence[str],
        null_values: Sequence[str] = (),
        encoding: str = "utf-8",
        window: int = _WINDOW,
    ) -> None:
        self.header = header
        self._open = open_content
        self._encoding = encoding
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
        position = self.header.offset if offset is None else offset
        with self._open() as content:
            content.skip_to(position)
            yield from self._chunks(content, chunk_rows, first_row)

    def _chunks(self, content: Content, chunk_rows: int, row: int) -> Iterator[Chunk]:
        kept: list[_Piece] = []
        count, start = 0, content.position
        for base, piece in self._read(content):
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
                    yield self._chunk(kept, start, end, row, count, content.bytes_done)
                    kept, row, start, count = [], row + count, end, 0
        if count:
            yield self._chunk(kept, start, content.position, row, count, content.bytes_done)

    def _read(self, content: Content) -> Iterator[tuple[int, _Piece]]:
        """Pieces of records with the byte at which each piece's data begin."""
        base, data = content.position, b""
        while True:
            block = content.read(self._window)
            data += block
            found = scan(data, self.header.dialect, final=not block)
            if len(found.starts):
                parts = (found.starts, found.ends, found.columns)
                yield base, _Piece(data, *parts, found.refused)
            base, data = base + found.consumed, data[found.consumed :]
            if found.overflow is not None:
                piece, rest = self._skip(content, data, found.overflow)
                yield base, piece
                base, data = content.position - len(rest), rest
            elif not block:
                return

    def _skip(self, content: Content, line: bytes, reason: Reason) -> tuple[_Piece, bytes]:
        """The rest of a refused line is read and dropped; also what was read after its end."""
        length, rest = len(line), b""
        while block := content.read(self._window):
            stops = [at for at in (block.find(b"\n"), block.find(b"\r")) if at >= 0]
            if stops:
                length += min(stops)
                rest = block[min(stops) :]
                break
            length += len(block)
        why = TOO_LONG if length > RECORD_LIMIT else reason
        one = np.array([length], np.int64)
        return _Piece(line[: RAW_SHOWN + 1], one * 0, one, one * 0, {0: why}), rest

    def _chunk(
        self, pieces: list[_Piece], start: int, end: int, row: int, count: int, bytes_done: int
    ) -> Chunk:
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
        return CsvChunk(
            offset_start=start,
            offset_end=end,
            first_row=row,
            next_row=row + count,
            rows=count,
            bytes_done=bytes_done,
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
            code, message = piece.refused.get(index) or _reason(
                record, piece.columns[index], width, self._encoding
            )
            malformed.append(MalformedRow(first + index, code, message, shown(record)))
        return good

    def _table(self, piece: _Piece, good: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> pa.Table:
        begin, end = int(piece.starts[0]), int(piece.ends[-1])
        if good.all() and end < len(piece.data):
            # With the line end: without it Arrow takes an empty last cell for one in quotes.
            text = pa.py_buffer(piece.data).slice(begin, end + 1 - begin)
        else:
            view = memoryview(piece.data)
            spans = zip(piece.starts[good].tolist(), piece.ends[good].tolist(), strict=True)
            text = pa.py_buffer(b"\n".join([*(view[start:end] for start, end in spans), b""]))
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


def _reason(record: bytes, columns: int, width: int, encoding: str) -> Reason:
    if b"\0" in record:
        return "nul", f"the row holds a NUL byte at byte {record.index(0) + 1}"
    try:
        record.decode()
    except UnicodeDecodeError as error:
        return "encoding", f"the row is not {encoding.upper()}: byte {error.start + 1} is wrong"
    return "columns", f"the row has {columns} columns; the header has {width}"

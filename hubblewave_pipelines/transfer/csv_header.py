"""The header of CSV text: its delimiter, its columns, and where its first row begins."""

import csv
import io
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from hubblewave_pipelines.core.errors import ImportFailed

DELIMITERS = (",", ";", "\t", "|")
RECORD_LIMIT = 1 << 20  # bytes of one record, header included
_SAMPLE = 64 * 1024
_SAMPLE_RECORDS = 20
REJECTS_COLUMNS = ("_row", "_reason")


@dataclass(frozen=True, slots=True)
class Dialect:
    delimiter: str
    quote: str


@dataclass(frozen=True, slots=True)
class Header:
    """The first record of a text. `offset` is the byte of it where the first row begins."""

    names: tuple[str, ...]
    dialect: Dialect
    offset: int


def _first_record(head: bytes, quote: bytes, delimiters: bytes) -> int | None:
    """Where the first non-empty record of `head` ends, or None when it does not end there.

    As in the rows, a quote counts only at the beginning of a cell: `5" pipe` is a name.
    """
    opening = b"\r\n" + delimiters
    quoted = seen = False
    before, closed = opening[0], False  # `closed`: the byte before ended a cell in quotes
    for position, byte in enumerate(head):
        was_closed, closed = closed, False
        if byte == quote[0]:
            if quoted:
                quoted, closed = False, True
            else:
                quoted = was_closed or before in opening
            seen = True
        elif byte in b"\r\n" and not quoted and seen:
            return position
        elif byte not in b"\r\n":
            seen = True
        before = byte
    return None


def _cells(text: str, delimiter: str, quote: str) -> list[list[str]]:
    csv.field_size_limit(RECORD_LIMIT)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quotechar=quote)
    return list(itertools.islice((row for row in reader if row), _SAMPLE_RECORDS))


def _delimiter(sample: str, quote: str) -> str:
    """The delimiter that cuts the sample into the most columns, all records alike if possible."""

    def score(delimiter: str) -> tuple[float, int]:
        try:
            rows = _cells(sample, delimiter, quote)
        except csv.Error:
            return (0, 0)
        width = len(rows[0]) if rows else 1
        if width == 1:
            return (0, 0)
        return (sum(len(row) == width for row in rows) / len(rows), width)

    best = max(DELIMITERS, key=score)
    return best if score(best) > (0, 0) else ","


def is_rejects(names: Sequence[str]) -> bool:
    """Whether the columns are those of a file of refused rows, which always has a header."""
    return tuple(names[:2]) == REJECTS_COLUMNS


def csv_header(
    body: bytes, *, whole: bool, delimiter: str | None, quote: str, named: bool = True
) -> Header:
    """The header of CSV text that begins with `body` (RECORD_LIMIT bytes, or all: `whole`).

    The delimiter is detected when it is None. Without names in the file (`named` is False) columns
    are column1, column2 and so on. Raises ImportFailed when the text is empty, or its header
    cannot serve.
    """
    if not body.strip(b"\r\n"):
        raise ImportFailed("The file is empty: it needs a header line with the column names.")
    candidates = "".join(DELIMITERS) if delimiter is None else delimiter
    end = _first_record(body, quote.encode(), candidates.encode())
    if end is None and not whole:
        raise ImportFailed(f"The header is longer than {RECORD_LIMIT} bytes.")
    end = len(body) if end is None else end
    try:
        line = body[:end].decode().lstrip("\r\n")
    except UnicodeDecodeError as error:
        raise ImportFailed(
            f"The header cannot be decoded: byte {error.start} is wrong. Set options.encoding."
        ) from error
    if "\0" in line:
        raise ImportFailed("The header contains NUL bytes: this is not a CSV file.")
    if delimiter is None:
        sample = body[: max(_SAMPLE, end)].decode(errors="replace").replace("\0", "\ufffd")
        delimiter = _delimiter(sample.rsplit("\n", 1)[0] if "\n" in sample else sample, quote)
    cells = _header_cells(line, delimiter, quote)
    dialect = Dialect(delimiter, quote)
    if named or is_rejects(cells):
        return Header(column_names(cells), dialect, end)
    return Header(tuple(f"column{n}" for n in range(1, len(cells) + 1)), dialect, 0)


def _header_cells(line: str, delimiter: str, quote: str) -> list[str]:
    try:
        return [name.strip() for name in _cells(line, delimiter, quote)[0]]
    except csv.Error as error:
        raise ImportFailed(f"The header cannot be read: {error}.") from error


def column_names(given: Sequence[str]) -> tuple[str, ...]:
    """Names of columns that can serve: each is there, and none twice. Raises ImportFailed."""
    names = list(given)
    if len(names) > 1 and not names[-1]:
        names[-1] = f"column{len(names)}"  # a delimiter at the end of every line is common
    empty = [str(index) for index, name in enumerate(names, 1) if not name]
    if empty:
        raise ImportFailed(f"The header has no name for column {', '.join(empty[:10])}.")
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise ImportFailed(f"The header names a column twice: {', '.join(twice[:10])}.")
    return tuple(names)

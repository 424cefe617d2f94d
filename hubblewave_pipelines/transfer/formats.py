"""What an uploaded file is: its delimiter, its header, and where its first row begins.

Reads the first bytes only and needs no Arrow, so the API can check a mapping before accepting.
"""

import csv
import io
import itertools
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from hubblewave_pipelines.core.errors import ImportFailed

DELIMITERS = (",", ";", "\t", "|")
RECORD_LIMIT = 1 << 20  # bytes of one record, header included
_SAMPLE = 64 * 1024
_SAMPLE_RECORDS = 20
_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True)
class Dialect:
    delimiter: str
    quote: str


@dataclass(frozen=True, slots=True)
class Header:
    """The first record of a file. `offset` is the byte where the first row begins."""

    names: tuple[str, ...]
    dialect: Dialect
    offset: int
    size: int  # bytes of the whole file


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


def read_header(path: Path, *, delimiter: str | None, quote: str) -> Header:
    """The header of a CSV file; the delimiter is detected when it is None.

    Raises ImportFailed when the file is missing, empty, not UTF-8, or its header cannot serve.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(RECORD_LIMIT + len(_BOM))
    except FileNotFoundError as error:
        raise ImportFailed("The uploaded file is no longer there; upload it again.") from error
    if head.startswith(_UTF16):
        raise ImportFailed("The file is UTF-16; save it as UTF-8 and upload it again.")
    skipped = len(_BOM) if head.startswith(_BOM) else 0
    body = head[skipped:]
    if not body.strip(b"\r\n"):
        raise ImportFailed("The file is empty: it needs a header line with the column names.")
    candidates = "".join(DELIMITERS) if delimiter is None else delimiter
    end = _first_record(body, quote.encode(), candidates.encode())
    if end is None and skipped + len(body) < size:
        raise ImportFailed(f"The header is longer than {RECORD_LIMIT} bytes.")
    end = len(body) if end is None else end
    try:
        line = body[:end].decode().lstrip("\r\n")
    except UnicodeDecodeError as error:
        raise ImportFailed(
            f"The header is not UTF-8: byte {skipped + error.start} is wrong."
        ) from error
    if "\0" in line:
        raise ImportFailed("The header contains NUL bytes: this is not a CSV file.")
    if delimiter is None:
        sample = body[: max(_SAMPLE, end)].decode(errors="replace").replace("\0", "\ufffd")
        delimiter = _delimiter(sample.rsplit("\n", 1)[0] if "\n" in sample else sample, quote)
    return Header(_names(line, delimiter, quote), Dialect(delimiter, quote), skipped + end, size)


def _names(line: str, delimiter: str, quote: str) -> tuple[str, ...]:
    try:
        rows = _cells(line, delimiter, quote)
    except csv.Error as error:
        raise ImportFailed(f"The header cannot be read: {error}.") from error
    names = [name.strip() for name in rows[0]]
    if len(names) > 1 and not names[-1]:
        names[-1] = f"column{len(names)}"  # a delimiter at the end of every line is common
    empty = [str(index) for index, name in enumerate(names, 1) if not name]
    if empty:
        raise ImportFailed(f"The header has no name for column {', '.join(empty[:10])}.")
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise ImportFailed(f"The header names a column twice: {', '.join(twice[:10])}.")
    return tuple(names)

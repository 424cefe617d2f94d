"""NDJSON and JSON files as records: lines, or the items of one array wherever it is."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hubblewave_pipelines.core.errors import ImportFailed
from hubblewave_pipelines.core.import_options import ImportOptions
from hubblewave_pipelines.transfer.cells import Record
from hubblewave_pipelines.transfer.content import Content
from hubblewave_pipelines.transfer.csv_header import RECORD_LIMIT
from hubblewave_pipelines.transfer.formats import Format, Source
from hubblewave_pipelines.transfer.json_text import JsonRecords, parsed

_WINDOW = 1 << 20
_HEAD = 16 << 20  # bytes within which the records must begin
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')
_ESCAPED_QUOTE = re.compile(rb'\\+"')


def lines(content: Content) -> Iterator[tuple[bytes, int]]:
    """The lines that are not blank, each with the bytes read so far. A line longer than
    RECORD_LIMIT is cut a little above it."""
    rest, cut = b"", False
    while True:
        block = content.read(_WINDOW)
        parts = (rest + block).split(b"\n")
        rest = parts.pop() if block else b""
        for part in parts:
            if cut:
                cut = False  # the end of a line that was given already
            elif part.strip():
                yield part[: RECORD_LIMIT + 1], content.bytes_done
        if len(rest) > RECORD_LIMIT:
            if not cut:
                yield rest[: RECORD_LIMIT + 1], content.bytes_done
            rest, cut = b"", True
        if not block:
            return


@dataclass
class _Array:
    """Cuts the items out of an array, from the byte after its `[` on."""

    content: Content
    data: bytes
    ended: bool = False

    def items(self) -> Iterator[tuple[bytes, int]]:
        """Raises ImportFailed when the text ends before the array does."""
        depth, inside, skipping = 0, False, False
        start = scanned = 0
        while not self.ended:
            depth, inside, separators, end = _scan(self.data, scanned, depth, inside)
            for at in separators:
                item = self.data[start:at].strip()
                start = at + 1
                if skipping:
                    skipping = False
                elif item:
                    yield item[: RECORD_LIMIT + 1], self.content.bytes_done
                elif at != end:
                    raise ImportFailed("The JSON array has a comma without a record before it.")
            if end is not None:
                self.ended = True
                self.data = self.data[end + 1 :]
                return
            self.data, start = self.data[start:], 0
            if len(self.data) > RECORD_LIMIT:
                if not skipping:
                    yield self.data[: RECORD_LIMIT + 1], self.content.bytes_done
                self.data, skipping = self.data[_unescaped(self.data) :], True
            scanned = _unescaped(self.data)
            block = self.content.read(_WINDOW)
            if not block:
                raise ImportFailed("The JSON text is cut short: its list of records does not end.")
            self.data += block


def _unescaped(data: bytes) -> int:
    """Where the backslashes at the end begin: what follows them decides what they mean."""
    return len(data.rstrip(b"\\"))


def _scan(
    data: bytes, begin: int, depth: int, inside: bool
) -> tuple[int, bool, list[int], int | None]:
    """Structure of `data` from `begin` on, which is `depth` levels deep in an item and `inside` a
    text or not: depth and inside at its end, where items end, and where the array does."""
    text = np.frombuffer(data, np.uint8)[begin:]
    quotes = text == 34
    if b"\\" in data:
        for found in _ESCAPED_QUOTE.finditer(data, begin):
            if (found.end() - found.start()) % 2 == 0:
                quotes[found.end() - 1 - begin] = False
    within = np.bitwise_xor.accumulate(quotes.view(np.uint8)).view(bool) ^ inside
    after = bool(within[-1]) if len(within) else inside
    marks = np.flatnonzero(~within & ((text & 0xDF == 0x5B) | (text & 0xDF == 0x5D) | (text == 44)))
    kinds = text[marks]
    change = np.where(kinds == 44, 0, np.where(kinds & 0xDF == 0x5B, 1, -1))
    levels = np.cumsum(change) + depth
    ends = np.flatnonzero(levels < 0)
    last = int(ends[0]) if len(ends) else len(marks)
    separators = marks[:last][(kinds[:last] == 44) & (levels[:last] == 0)]
    places = (separators + begin).tolist()
    if not len(ends):
        return int(levels[-1]) if len(levels) else depth, after, places, None
    end = int(marks[last]) + begin
    return 0, after, [*places, end], end


class _Head:
    """The beginning of a JSON text, read token by token up to the records."""

    def __init__(self, content: Content) -> None:
        self.content = content
        self.data = b""
        self.at = 0
        while len(self.data) < _HEAD and (block := content.read(_WINDOW)):
            self.data += block

    def token(self) -> bytes:
        found = _TOKEN.search(self.data, self.at)
        if found is None:
            raise ImportFailed(
                f"The records do not begin within the first {_HEAD} bytes of the JSON text; "
                "set options.recordPath if they are in another place."
            )
        self.at = found.end()
        return found[0]

    def peek(self) -> bytes:
        at = self.at
        found = self.token()
        self.at = at
        return found

    def skip_value(self) -> None:
        depth = 0
        while True:
            found = self.token()
            depth += (found in b"{[") - (found in b"}]")
            if depth <= 0:
                return

    def enter(self, key: str) -> bool:
        """From the `{` of an object to the value of `key`."""
        if self.token() != b"{":
            return False
        while True:
            found = self.token()
            if found == b"}":
                return False
            if found == b",":
                continue
            if self.token() != b":":
                raise ImportFailed(f"The JSON text is broken at byte {self.at}.")
            if _text(found) == key:
                return True
            self.skip_value()

    def first_list(self) -> str | None:
        """The key of the first list of objects in the object that begins here."""
        at, key = self.at, None
        self.token()
        while key is None:
            found = self.token()
            if found == b"}":
                break
            if found == b",":
                continue
            self.token()
            if self.peek() == b"[" and self._objects():
                key = _text(found)
            else:
                self.skip_value()
        self.at = at
        return key

    def _objects(self) -> bool:
        at = self.at
        self.token()
        found = self.token()
        self.at = at
        return found == b"{"


def _text(token: bytes) -> str:
    try:
        return str(json.loads(token))
    except ValueError as error:
        raise ImportFailed(f"The JSON text is broken: {token[:40]!r} is no key.") from error


def _path(head: _Head, source: Source) -> tuple[str, ...] | None:
    """Where the list of records is; None: the document is one record."""
    if source.record_path is not None:
        return source.record_path
    if head.peek() != b"{":
        return ()
    try:
        key = head.first_list()
    except ImportFailed:
        key = None
    head.at = 0
    return None if key is None else (key,)


def _array_items(content: Content, source: Source) -> Iterator[tuple[bytes, int]]:
    head = _Head(content)
    if not head.data.strip():
        raise ImportFailed("The file is empty.")
    path = _path(head, source)
    if path is None:
        if len(head.data) > RECORD_LIMIT:
            raise ImportFailed(
                "The JSON text is one large object; set options.recordPath to its list of records."
            )
        yield head.data.strip(), content.bytes_done
        return
    for key in path:
        if not head.enter(key):
            raise ImportFailed(f'There is no "{".".join(path)}" in the JSON text.')
    if head.token() != b"[":
        raise ImportFailed(f'"{".".join(path)}" is no list in the JSON text.')
    array = _Array(content, head.data[head.at :])
    yield from array.items()
    if not path and array.data.strip():
        raise ImportFailed("Text follows the end of the JSON array.")


def _texts(content: Content, source: Source) -> Iterator[tuple[bytes, int]]:
    return lines(content) if source.format is Format.NDJSON else _array_items(content, source)


def records(
    path: Path, source: Source, reading: JsonRecords, after: int, max_inflated: int
) -> Iterator[tuple[Record, int]]:
    """Records after number `after`, with the bytes read so far."""
    with source.content(path, max_inflated=max_inflated) as content:
        for number, (data, done) in enumerate(_texts(content, source), 1):
            if number > after:
                yield reading.record(number, data), done


def pathed(source: Source, options: ImportOptions) -> Source:
    """The source with the place of its records as the client names it."""
    if source.format is Format.NDJSON or options.record_path is None:
        return source
    return replace(source, record_path=options.record_path)


def inspected(path: Path, source: Source, sample: int, max_inflated: int) -> Source:
    """The source with its columns, as the first `sample` records show them."""
    names: dict[str, None] = {}
    size = count = 0
    with source.content(path, max_inflated=max_inflated) as content:
        if source.format is Format.JSON and source.record_path is None:
            head = _Head(content)
            found = _path(head, source) if head.data.strip() else ()
            source = replace(source, record_path=found or None)
    open_ = False
    with source.content(path, max_inflated=max_inflated) as content:
        for data, _ in _texts(content, source):
            if count == sample or size > _HEAD:
                open_ = True
                break
            count, size = count + 1, size + len(data)
            try:
                found_ = parsed(data.decode())
            except Exception:  # noqa: BLE001,S112 - the import tells what is wrong with this record
                continue
            if isinstance(found_, dict):
                names.update(dict.fromkeys(found_))
    if not names:
        raise ImportFailed("The file holds no record: no JSON object is among its first items.")
    return replace(source, columns=tuple(names), open=open_)

"""XML files as records: elements at one path, by a parser that follows nothing and expands nothing."""

import xml.parsers.expat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from lxml import etree

from hubblewave_pipelines.core.errors import ImportFailed
from hubblewave_pipelines.core.import_options import ImportOptions
from hubblewave_pipelines.transfer.cells import Cell, Record
from hubblewave_pipelines.transfer.content import Content
from hubblewave_pipelines.transfer.csv_header import RECORD_LIMIT
from hubblewave_pipelines.transfer.formats import Source
from hubblewave_pipelines.transfer.json_text import refused, written

_NIL = "{http://www.w3.org/2001/XMLSchema-instance}nil"
_PROLOG = 1 << 20
_WINDOW = 1 << 16


class _Found(Exception):
    """The root element begins."""


def check_prolog(head: bytes) -> None:
    """Refuse a document type: entities, external ones and defaults all come from there."""
    parser = xml.parsers.expat.ParserCreate()

    def doctype(*_: object) -> None:
        raise ImportFailed("The XML has a document type (DOCTYPE); such files are refused.")

    def root(*_: object) -> None:
        raise _Found

    parser.StartDoctypeDeclHandler = doctype
    parser.StartElementHandler = root
    try:
        parser.Parse(head, False)
    except _Found:
        return
    except xml.parsers.expat.ExpatError as error:
        raise ImportFailed(f"The XML cannot be read: {error}.") from error
    raise ImportFailed(f"The root element does not begin in the first {_PROLOG} bytes of the XML.")


class _Reading:
    """A content as the file object that the parser reads."""

    def __init__(self, content: Content) -> None:
        self.content = content

    def read(self, size: int = -1) -> bytes:
        return self.content.read(_WINDOW)


@contextmanager
def _opened(path: Path, source: Source, max_inflated: int) -> Iterator[tuple[Any, Content]]:
    """Start and end events of all elements. The parser finds the encoding by itself."""
    bare = replace(source, encoding="utf-8", bom=0)
    with bare.content(path, max_inflated=max_inflated) as content:
        check_prolog(content.read(_PROLOG))
    with bare.content(path, max_inflated=max_inflated) as content:
        try:
            yield (
                etree.iterparse(
                    _Reading(content),
                    events=("start", "end"),
                    resolve_entities=False,
                    load_dtd=False,
                    no_network=True,
                    huge_tree=False,
                    remove_comments=True,
                    remove_pis=True,
                ),
                content,
            )
        except etree.XMLSyntaxError as error:
            raise ImportFailed(f"The XML cannot be read: {error.msg}.") from error


def _elements(events: Any, path: tuple[str, ...] | None) -> Iterator[Any]:
    """The elements at `path` (None: the children of the root), each emptied after its use."""
    open_: list[str] = []
    depth = 2 if path is None else len(path)
    for event, element in events:
        if event == "start":
            open_.append(_local(element.tag))
            continue
        if len(open_) == depth and (path is None or tuple(open_) == path):
            yield element
        open_.pop()
        if len(open_) < depth:
            element.clear()
            parent = element.getparent()
            if parent is not None:
                while element.getprevious() is not None:
                    del parent[0]


def _local(tag: Any) -> str:
    return str(etree.QName(tag).localname)


def _value(element: Any) -> Any:
    """Text of a leaf, else an object of attributes and children; repeated names become lists."""
    if element.get(_NIL) in ("true", "1"):
        return None
    attributes = [(_local(name), text) for name, text in element.attrib.items() if name != _NIL]
    if not len(element) and not attributes:
        return element.text or ""
    found: dict[str, Any] = {}
    for child in element:
        name, value = _local(child.tag), _value(child)
        if name in found:
            held = found[name]
            found[name] = [*held, value] if type(held) is list else [held, value]
        else:
            found[name] = value
    for name, text in attributes:
        found.setdefault(name, text)
    if not len(element) and (element.text or "").strip():
        found["#text"] = element.text
    return found


def _row(element: Any) -> dict[str, Any]:
    found = _value(element)
    return found if isinstance(found, dict) else {"#text": found} if found else {}


def _size(element: Any) -> int:
    return sum(len(text) for text in element.itertext()) + len(element)


def _cell(value: Any) -> Cell:
    return value if value is None or isinstance(value, str) else written(value)


def records(
    path: Path,
    source: Source,
    columns: Sequence[str],
    nulls: frozenset[str],
    after: int,
    max_inflated: int,
) -> Iterator[tuple[Record, int]]:
    """Records after number `after`, with the bytes read so far."""
    with _opened(path, source, max_inflated) as (events, content):
        for number, element in enumerate(_elements(events, source.record_path), 1):
            if number <= after:
                continue
            if _size(element) > RECORD_LIMIT:
                shown = "".join(element.itertext())[:4_000].encode()
                why = f"is longer than {RECORD_LIMIT} bytes"
                yield refused(number, shown, "too_long", why), content.bytes_done
                continue
            row = _row(element)
            cells = [_cell(row.get(name)) for name in columns]
            if nulls:
                cells = [None if cell in nulls else cell for cell in cells]
            yield Record(number, cells), content.bytes_done


def inspected(
    path: Path, source: Source, options: ImportOptions, sample: int, max_inflated: int
) -> Source:
    """The source with the path of its records and their columns, as the first records show them."""
    source = replace(source, record_path=options.record_path)
    names: dict[str, None] = {}
    tags: dict[str, None] = {}
    root, more = "", False
    with _opened(path, source, max_inflated) as (events, _):
        for count, element in enumerate(_elements(events, source.record_path)):
            if count == sample:
                more = True
                break
            root = _local(element.getroottree().getroot().tag)
            tags[_local(element.tag)] = None
            names.update(dict.fromkeys(_row(element)))
        encoding = "utf-8"
    if not names:
        where = "/".join(options.record_path or ("root", "record"))
        raise ImportFailed(f"The XML has no records at {where}; set options.recordPath.")
    if source.record_path is None and len(tags) > 1:
        raise ImportFailed(
            f"Below the root element there are {', '.join(list(tags)[:5])}: set "
            f"options.recordPath to the path of the records, such as {root}/{next(iter(tags))}."
        )
    found = source.record_path or (root, next(iter(tags)))
    return replace(source, encoding=encoding, columns=tuple(names), open=more, record_path=found)

"""What an uploaded file is, by its content first and its name second: format, encoding, columns.

Reads the first bytes only and needs no Arrow, so the API can check a mapping before accepting.
Files that need a parser of their own are looked into by `transfer.apart`, never in this process.
"""

import json
import re
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from hubblewave_pipelines.core.entity import Json
from hubblewave_pipelines.core.errors import ImportFailed
from hubblewave_pipelines.core.import_options import ImportOptions
from hubblewave_pipelines.transfer import archives
from hubblewave_pipelines.transfer.content import MAX_INFLATED, Content, plain_file
from hubblewave_pipelines.transfer.csv_header import RECORD_LIMIT, Dialect, Header, csv_header
from hubblewave_pipelines.transfer.text_encoding import Encoding, detect

_HEAD = RECORD_LIMIT + 4
_GZIP, _ZIP, _OLE, _PARQUET = b"\x1f\x8b", b"PK", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"PAR1"
_JSON_ARRAY = re.compile(r"\[\s*[\]{]")
_JSON_OBJECT = re.compile(r'\{\s*["}]')
_JSON_LIST = re.compile(r'":\s*\[\s*[\]{]')
_XML = re.compile(r"<(\?xml|!--|!DOCTYPE|[A-Za-z_])")
_SUFFIXES = {"gz": "gzip", "zip": "zip"}


class Format(StrEnum):
    CSV = "csv"
    JSON = "json"
    NDJSON = "ndjson"
    XML = "xml"
    XLSX = "xlsx"
    XLS = "xls"
    PARQUET = "parquet"


BINARY = frozenset({Format.XLSX, Format.XLS, Format.PARQUET})


@dataclass(frozen=True, slots=True)
class Source:
    """An uploaded file as it was understood; an import job keeps it, so that it is read the same
    way again. `open`: records may hold columns that its first ones do not show."""

    format: Format
    compression: str | None = None
    encoding: str = "utf-8"
    encoding_from: str = "content"
    bom: int = 0
    delimiter: str | None = None
    quote: str | None = None
    header: bool = True
    offset: int = 0  # byte of the text where the first row of CSV begins
    sheet: str | None = None
    sheets: tuple[str, ...] = ()
    record_path: tuple[str, ...] | None = None
    columns: tuple[str, ...] = ()
    open: bool = False

    def as_json(self) -> dict[str, Json]:
        """The form in which an import job keeps it; `of_json` reads it back."""
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def of_json(cls, body: dict[str, Any]) -> Self:
        found: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in body.items()}
        found["format"] = Format(body["format"])
        return cls(**found)

    def content(self, path: Path, *, max_inflated: int = MAX_INFLATED) -> Content:
        """The text of the file from its first character on."""
        return Content(
            path, self.compression, self.encoding, bom=self.bom, max_inflated=max_inflated
        )

    @property
    def csv(self) -> Header:
        """Raises ValueError when it is no CSV file."""
        if self.delimiter is None or self.quote is None:
            raise ValueError(self.format)
        return Header(self.columns, Dialect(self.delimiter, self.quote), self.offset)


def stored_source(detected: Json) -> Source | None:
    """What an import job keeps of its file; None when it was accepted before that was kept."""
    return Source.of_json(detected) if isinstance(detected, dict) and detected else None


def _plain(value: object) -> Json:
    return list(value) if isinstance(value, tuple) else value


def shown(source: Source) -> dict[str, Json]:
    """What clients are told of a file: what was detected, in the words of the options."""
    text = source.format not in BINARY
    told: dict[str, Json] = {
        "format": source.format.value,
        "compression": source.compression,
        "encoding": source.encoding if text else None,
        "encodingFrom": source.encoding_from if text else None,
        "delimiter": source.delimiter,
        "quote": source.quote,
        "header": source.header,
        "sheet": source.sheet,
        "sheets": list(source.sheets) or None,
        "recordPath": None if source.record_path is None else ".".join(source.record_path),
        "columns": list(source.columns),
    }
    return {key: value for key, value in told.items() if value is not None}


def recognised(
    path: Path, file_name: str, options: ImportOptions, *, max_inflated: int = MAX_INFLATED
) -> Source:
    """What the file is; its columns too if it is CSV. Raises ImportFailed."""
    compression, name = _compression(path), file_name.lower()
    if compression is not None:
        name = name.removesuffix(".gz").removesuffix(".zip")
    with Content(path, compression, max_inflated=max_inflated) as content:
        head = content.read(_HEAD)
        while len(head) < _HEAD and (more := content.read(_HEAD - len(head))):
            head += more
    whole = len(head) < _HEAD
    found = _binary(path, compression, head, max_inflated)
    if found is not None:
        _expect(options, found)
        return Source(found, compression)
    encoding = detect(head, options.encoding, whole=whole)
    text = _decoded(head[encoding.bom :], encoding)
    format_ = Format(options.format) if options.format is not None else _textual(text, name)
    if format_ in BINARY:
        raise ImportFailed(f"The file is no {format_.upper()} file.")
    source = Source(format_, compression, encoding.name, encoding.source, encoding.bom)
    return _as_csv(path, source, options, max_inflated) if format_ is Format.CSV else source


def _expect(options: ImportOptions, found: Format) -> None:
    if options.format not in (None, found.value):
        raise ImportFailed(f"The file is a {found.upper()} file; options.format says otherwise.")


def _compression(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            head = file.read(4)
    except FileNotFoundError as error:
        raise ImportFailed("The uploaded file is no longer there; upload it again.") from error
    if head.startswith(_GZIP):
        archives.check_gzip(path)
        return "gzip"
    if head.startswith(_ZIP) and head[2:] in (b"\x03\x04", b"\x05\x06", b"\x07\x08"):
        return None if archives.is_workbook(path) else "zip"
    return None


def _binary(path: Path, compression: str | None, head: bytes, max_inflated: int) -> Format | None:
    if head.startswith(_OLE):
        return Format.XLS
    if head.startswith(_PARQUET):
        return Format.PARQUET
    if head.startswith(_GZIP):
        raise ImportFailed("The file is packed twice; send it packed once.")
    if not head.startswith(_ZIP):
        return None
    with plain_file(path, compression, max_inflated=max_inflated) as plain:
        if not archives.is_workbook(plain):
            raise ImportFailed("The file is an archive in an archive; send it packed once.")
        archives.check_workbook(plain)
    return Format.XLSX


def _decoded(head: bytes, encoding: Encoding) -> str:
    sample = head[:65_536]
    name = encoding.name
    return sample.decode(name if name.startswith("utf") else "latin-1", errors="replace")


def _textual(text: str, name: str) -> Format:
    """The format of a text: content decides, the name where content leaves a choice."""
    begun = text.lstrip("\ufeff \t\r\n")
    if _JSON_ARRAY.match(begun):
        return Format.JSON
    if _JSON_OBJECT.match(begun):
        if name.endswith((".ndjson", ".jsonl")):
            return Format.NDJSON
        return Format.JSON if _is_one_object(begun) else Format.NDJSON
    if _XML.match(begun):
        return Format.XML
    if name.endswith((".ndjson", ".jsonl")):
        return Format.NDJSON
    if name.endswith((".json", ".xml", ".xlsx", ".xls", ".parquet")):
        kind = name.rsplit(".", 1)[-1]
        raise ImportFailed(f"The file is named .{kind}, and its content is no {kind.upper()}.")
    return Format.CSV


def _is_one_object(begun: str) -> bool:
    """Whether text that begins with { is one JSON document, not one per line."""
    line, _, rest = begun.partition("\n")
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return not line.rstrip().endswith("}")
    return not rest.lstrip().startswith("{") and _JSON_LIST.search(line) is not None


def _as_csv(path: Path, source: Source, options: ImportOptions, max_inflated: int) -> Source:
    with source.content(path, max_inflated=max_inflated) as content:
        body = b""
        while len(body) < RECORD_LIMIT and (more := content.read(RECORD_LIMIT - len(body))):
            body += more
    header = csv_header(
        body,
        whole=len(body) < RECORD_LIMIT,
        delimiter=options.delimiter,
        quote=options.quote,
        named=options.header,
    )
    return replace(
        source,
        delimiter=header.dialect.delimiter,
        quote=header.dialect.quote,
        header=header.offset > 0,
        offset=header.offset,
        columns=header.names,
    )

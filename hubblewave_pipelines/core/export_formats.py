"""The formats that exports are written in, and how each may be varied."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from hubblewave_pipelines.core.entity import Json
from hubblewave_pipelines.core.reading import Reading, below

_AT = "#/options"
_NO_DELIMITERS = '"\r\n\0. =+-@'  # the last four begin formulas
_KEYS = ("delimiter", "encoding", "header", "raw", "compression", "fileName")
_LONGEST_NAME = 200


class Format(StrEnum):
    CSV = "csv"
    TSV = "tsv"
    XLSX = "xlsx"
    JSON = "json"
    NDJSON = "ndjson"
    XML = "xml"
    PARQUET = "parquet"


class Compression(StrEnum):
    NONE = "none"
    GZIP = "gzip"
    ZIP = "zip"


MEDIA_TYPES: Mapping[Format, str] = {
    Format.CSV: "text/csv",
    Format.TSV: "text/tab-separated-values",
    Format.XLSX: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    Format.JSON: "application/json",
    Format.NDJSON: "application/x-ndjson",
    Format.XML: "application/xml",
    Format.PARQUET: "application/vnd.apache.parquet",
}
# What people call them -> Python's codec.
ENCODINGS: Mapping[str, str] = {
    "utf-8": "utf-8",
    "utf-8-bom": "utf-8-sig",
    "utf-16": "utf-16",
    "latin-1": "latin-1",
    "windows-1252": "cp1252",
}
SEPARATED = frozenset({Format.CSV, Format.TSV})
GUARDED = SEPARATED | {Format.XLSX}  # what spreadsheets open and evaluate
_PACKED = frozenset({Format.XLSX, Format.PARQUET})  # compressed already


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """`raw` leaves cells that a spreadsheet would evaluate as they are, for programs to read."""

    delimiter: str = ","
    encoding: str = "utf-8"
    header: bool = True
    raw: bool = False
    compression: Compression = Compression.NONE
    file_name: str | None = None  # as people shall see it; never a path

    def as_json(self) -> dict[str, Json]:
        """The form in which an export keeps its options; `parse_export_options` reads it back."""
        return {
            "delimiter": self.delimiter,
            "encoding": self.encoding,
            "header": self.header,
            "raw": self.raw,
            "compression": self.compression.value,
            "fileName": self.file_name,
        }


def _mark(reading: Reading, body: dict[str, Json], default: str) -> str:
    value = body.get("delimiter")
    if value is None:
        return default
    value = "\t" if value in ("\\t", "tab") else value
    usable = isinstance(value, str) and len(value) == 1 and value.isascii()
    if not usable or value in _NO_DELIMITERS or value.isalnum():
        reading.fault(
            below(_AT, "delimiter"), "format", "delimiter must be one ASCII sign, such as , or ;"
        )
        return default
    return str(value)


def _flag(reading: Reading, body: dict[str, Json], key: str, default: bool) -> bool:
    value = body.get(key, default)
    if not isinstance(value, bool):
        reading.fault(below(_AT, key), "type", f"{key} must be true or false")
        return default
    return value


def parse_export_options(body: Json, chosen: Format, reading: Reading) -> ExportOptions:
    """The options a client gave; faults go to `reading` and leave the default in place."""
    default = ExportOptions(delimiter="\t" if chosen is Format.TSV else ",")
    if body is None:
        return default
    if not isinstance(body, dict):
        reading.fault(_AT, "type", "options must be a JSON object")
        return default
    given = {key: value for key, value in body.items() if value is not None}
    reading.keys(given, _KEYS, _AT)
    options = replace(
        default,
        delimiter=_mark(reading, given, default.delimiter),
        header=_flag(reading, given, "header", True),
        raw=_flag(reading, given, "raw", False),
        file_name=reading.text(given, "fileName", _AT, longest=_LONGEST_NAME),
    )
    if "encoding" in given:
        encoding = reading.choice(given, "encoding", _AT, list(ENCODINGS))
        options = replace(options, encoding=encoding or options.encoding)
    if "compression" in given:
        word = reading.choice(given, "compression", _AT, list(Compression))
        options = replace(options, compression=Compression(word or Compression.NONE))
    _refuse_misfits(options, default, chosen, reading)
    return options


def _refuse_misfits(
    options: ExportOptions, default: ExportOptions, chosen: Format, reading: Reading
) -> None:
    if chosen not in SEPARATED:
        for key in ("delimiter", "encoding", "header"):
            if getattr(options, key) != getattr(default, key):
                reading.fault(below(_AT, key), "format", f"{key} is for csv and tsv")
    if chosen in _PACKED and options.compression is not Compression.NONE:
        reading.fault(below(_AT, "compression"), "format", f"{chosen} is compressed already")


def extension(chosen: Format, compression: Compression) -> str:
    """`.csv`, `.csv.gz`, `.csv.zip`."""
    packed = {Compression.NONE: "", Compression.GZIP: ".gz", Compression.ZIP: ".zip"}
    return f".{chosen}{packed[compression]}"


def media_type(chosen: Format, options: ExportOptions) -> str:
    """The file's Content-Type."""
    if options.compression is Compression.GZIP:
        return "application/gzip"
    if options.compression is Compression.ZIP:
        return "application/zip"
    if chosen in SEPARATED:
        return f"{MEDIA_TYPES[chosen]}; charset={options.encoding.removesuffix('-bom')}"
    return MEDIA_TYPES[chosen]


def format_of(file_name: str) -> tuple[Format, Compression] | None:
    """The format that a file's name asks for, or None when it says nothing known."""
    name, packed = file_name.lower(), Compression.NONE
    for ending, compression in ((".gz", Compression.GZIP), (".zip", Compression.ZIP)):
        if name.endswith(ending):
            name, packed = name.removesuffix(ending), compression
    word = name.rpartition(".")[2]
    word = {"jsonl": "ndjson", "txt": "csv"}.get(word, word)
    return (Format(word), packed) if word in tuple(Format) else None

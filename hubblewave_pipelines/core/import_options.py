"""An import's options: what counts as a duplicate, what to do then, and how the file is written."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from hubblewave_pipelines.core.entity import Json
from hubblewave_pipelines.core.mapping import FieldMap
from hubblewave_pipelines.core.reading import Reading, below, suggestion

MAX_BATCH = 1_000_000
_AT = "#/options"
FORMATS = ("csv", "json", "ndjson", "xml", "xlsx", "xls", "parquet")
# Names of encodings as clients write them (the WHATWG ones, lower case) to Python's.
ENCODINGS = {
    "utf-8": "utf-8",
    "utf-16": "utf-16",
    "utf-16-le": "utf-16-le",
    "utf-16-be": "utf-16-be",
    "iso-8859-1": "iso-8859-1",
    "latin-1": "iso-8859-1",
    "us-ascii": "ascii",
    "macintosh": "mac-roman",
    "ibm437": "cp437",
    "ibm850": "cp850",
    "shift_jis": "cp932",
    "euc-jp": "euc-jp",
    "euc-kr": "cp949",
    "gb18030": "gb18030",
    "big5": "big5hkscs",
    "koi8-r": "koi8-r",
    **{f"iso-8859-{n}": f"iso-8859-{n}" for n in (2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 14, 15, 16)},
    **{f"windows-{n}": f"cp{n}" for n in range(1250, 1259)},
}
_KEYS = (
    "batchSize",
    "detectDuplicates",
    "uniqueFields",
    "duplicateStrategy",
    "onError",
    "delimiter",
    "quote",
    "nullValues",
    "emitEvents",
    "format",
    "encoding",
    "header",
    "sheet",
    "recordPath",
    "transformations",
)
_PATH_DEPTH = 20
E = TypeVar("E", bound=StrEnum)


class DuplicateStrategy(StrEnum):
    """What to do with a row whose `uniqueFields` equal those of a record that exists already."""

    SKIP = "skip"  # keep the record, count the row as skipped
    UPDATE = "update"  # the row replaces the mapped fields
    MERGE = "merge"  # as update, but an empty cell keeps what the record has
    ERROR = "error"  # refuse the row


class OnError(StrEnum):
    """What a refused row does to the import."""

    CONTINUE = "continue"  # it is set aside with its reason
    ABORT = "abort"  # the import fails and leaves nothing behind


class EmitEvents(StrEnum):
    """What webhooks hear of an import."""

    AUTO = "auto"  # each record where a webhook wants the entity's records, and a summary
    EACH = "each"  # the same, said by name
    SUMMARY = "summary"  # import.completed or import.failed only
    NONE = "none"


@dataclass(frozen=True, slots=True)
class ImportOptions:
    batch_size: int | None = None
    detect_duplicates: bool = False
    unique_fields: tuple[str, ...] = ()
    strategy: DuplicateStrategy = DuplicateStrategy.SKIP
    on_error: OnError = OnError.CONTINUE
    delimiter: str | None = None  # None: found from the file
    quote: str = '"'
    null_values: tuple[str, ...] = ()
    emit_events: EmitEvents = EmitEvents.AUTO
    format: str | None = None  # the four below: found from the file when None
    encoding: str | None = None
    sheet: str | int | None = None  # a name, or a number from 1
    record_path: tuple[str, ...] | None = None
    header: bool = True

    def as_json(self) -> dict[str, Json]:
        """The form in which an import job keeps its options; `parse_options` reads it back."""
        return {
            "batchSize": self.batch_size,
            "detectDuplicates": self.detect_duplicates,
            "uniqueFields": list(self.unique_fields),
            "duplicateStrategy": self.strategy.value,
            "onError": self.on_error.value,
            "delimiter": self.delimiter,
            "quote": self.quote,
            "nullValues": list(self.null_values),
            "emitEvents": self.emit_events.value,
            "format": self.format,
            "encoding": self.encoding,
            "header": self.header,
            "sheet": self.sheet,
            "recordPath": None if self.record_path is None else ".".join(self.record_path),
        }


def _choice(reading: Reading, body: dict[str, Json], key: str, default: E) -> E:
    value = body.get(key)
    kind = type(default)
    if value is None:
        return default
    if value not in tuple(kind):
        reading.fault(below(_AT, key), "enum", f"{key} must be one of {', '.join(kind)}")
        return default
    return kind(value)


def _texts(reading: Reading, body: dict[str, Json], key: str) -> tuple[str, ...]:
    value = body.get(key)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        reading.fault(below(_AT, key), "type", f"{key} must be a list of strings")
        return ()
    return tuple(value)


def _mark(reading: Reading, body: dict[str, Json], key: str) -> str | None:
    """One ASCII character that can separate or quote; `\\t` may be written as such."""
    value = body.get(key)
    if value is None:
        return None
    value = "\t" if value in ("\\t", "tab") else value
    usable = isinstance(value, str) and len(value) == 1 and value.isascii()
    if not usable or value in "\r\n\0" or value.isalnum():
        reading.fault(below(_AT, key), "format", f"{key} must be one ASCII sign, such as , or ;")
        return None
    return str(value)


def _sheet(reading: Reading, body: dict[str, Json]) -> str | int | None:
    value = body.get("sheet")
    if isinstance(value, str) and value:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    if value is not None:
        reading.fault(below(_AT, "sheet"), "type", "sheet must be a name, or a number from 1")
    return None


def _record_path(reading: Reading, body: dict[str, Json]) -> tuple[str, ...] | None:
    """Names from the root to the records, with dots or slashes between them."""
    value = body.get("recordPath")
    if value is None:
        return None
    if not isinstance(value, str):
        reading.fault(below(_AT, "recordPath"), "type", "recordPath must be like data.items")
        return None
    parts = tuple(part for part in value.replace("/", ".").split(".") if part)
    if len(parts) > _PATH_DEPTH:
        reading.fault(below(_AT, "recordPath"), "length", f"at most {_PATH_DEPTH} names deep")
        return None
    return parts


def _named(reading: Reading, body: dict[str, Json], key: str, known: Collection[str]) -> str | None:
    if body.get(key) is None:
        return None
    given = body[key]
    lowered = {**body, key: given.lower()} if isinstance(given, str) else body
    return reading.choice(lowered, key, _AT, known)


def parse_options(body: Json, reading: Reading) -> ImportOptions:
    """The options a client gave; faults go to `reading` and leave the default in place."""
    if body is None:
        body = {}
    if not isinstance(body, dict):
        reading.fault(_AT, "type", "options must be a JSON object")
        return ImportOptions()
    reading.keys(body, _KEYS, _AT)
    batch = body.get("batchSize")
    whole = isinstance(batch, int) and not isinstance(batch, bool)
    if batch is not None and not (whole and 1 <= batch <= MAX_BATCH):
        reading.fault(below(_AT, "batchSize"), "range", f"batchSize must be 1 to {MAX_BATCH}")
        batch = None
    unique = _texts(reading, body, "uniqueFields")
    detect = body.get("detectDuplicates", bool(unique))
    if not isinstance(detect, bool):
        reading.fault(below(_AT, "detectDuplicates"), "type", "must be true or false")
        detect = False
    if detect and not unique:
        reading.fault(
            below(_AT, "uniqueFields"), "required", "name the fields that make two rows the same"
        )
    header = body.get("header", True)
    if not isinstance(header, bool):
        reading.fault(below(_AT, "header"), "type", "header must be true or false")
        header = True
    delimiter, quote = _mark(reading, body, "delimiter"), _mark(reading, body, "quote")
    if delimiter is not None and delimiter == (quote or '"'):
        reading.fault(below(_AT, "delimiter"), "format", "delimiter and quote must differ")
        delimiter = None
    return ImportOptions(
        batch_size=batch,
        detect_duplicates=detect,
        unique_fields=unique,
        strategy=_choice(reading, body, "duplicateStrategy", DuplicateStrategy.SKIP),
        on_error=_choice(reading, body, "onError", OnError.CONTINUE),
        delimiter=delimiter,
        quote=quote or '"',
        null_values=_texts(reading, body, "nullValues"),
        emit_events=_choice(reading, body, "emitEvents", EmitEvents.AUTO),
        format=_named(reading, body, "format", FORMATS),
        encoding=_named(reading, body, "encoding", ENCODINGS),
        sheet=_sheet(reading, body),
        record_path=_record_path(reading, body),
        header=header,
    )


def check_unique_fields(options: ImportOptions, maps: Sequence[FieldMap], reading: Reading) -> None:
    """Every unique field must be filled by the mapping, and named once."""
    filled = [m.target for m in maps]
    at = below(_AT, "uniqueFields")
    for index, name in enumerate(options.unique_fields):
        if name in options.unique_fields[:index]:
            reading.fault(below(at, index), "duplicate", f"{name} is named twice")
        elif name not in filled:
            hint = suggestion(name, filled) or f"; mapped are {', '.join(filled[:20])}"
            reading.fault(below(at, index), "unknown", f'no column fills "{name}"{hint}')

"""What a custom connector is configured with: its JSON Schema, and the streams read from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from hubblewave_pipelines.connectors.custom.paging import Paging, paging_of
from hubblewave_pipelines.core.entity import FieldKind, Json

_TEXT = {"type": "string", "minLength": 1, "maxLength": 500}
_PARAMETERS = {"type": "object", "additionalProperties": {"type": "string"}}
_SIZE = {
    "pageSizeParam": _TEXT,
    "pageSize": {"type": "integer", "minimum": 1, "maximum": 100_000},
}
_TOTAL = {**_TEXT, "description": "Path of the number of all records, where the answer has it."}


def _style(name: str, note: str, members: Mapping[str, Any], *required: str) -> dict[str, Any]:
    return {
        "title": name,
        "description": note,
        "type": "object",
        "properties": {"style": {"const": name}, **_SIZE, **members},
        "required": ["style", *required],
        "additionalProperties": False,
    }


_SIZED = ("pageSizeParam", "pageSize")
PAGINATION = {
    "oneOf": [
        _style("none", "One answer holds everything.", {}),
        _style(
            "cursor",
            "Each answer names the next page; it is sent as a parameter.",
            {"cursorPath": _TEXT, "param": _TEXT},
            "cursorPath",
            "param",
        ),
        _style("link_header", "RFC 8288: the header Link has rel=next.", {}),
        _style(
            "next_url", "Each answer holds the address of the next.", {"urlPath": _TEXT}, "urlPath"
        ),
        _style(
            "page",
            "Pages are numbered.",
            {"param": _TEXT, "first": {"type": "integer", "minimum": 0}, "totalPath": _TOTAL},
            "param",
        ),
        _style(
            "offset",
            "Records are skipped.",
            {"param": _TEXT, "totalPath": _TOTAL},
            "param",
            *_SIZED,
        ),
        _style("keyset", "The last key is sent as a parameter.", {"param": _TEXT}, "param"),
    ]
}
FORMATS = ("iso", "iso_seconds", "date", "epoch_seconds", "epoch_milliseconds")

_CURSOR = {
    "type": "object",
    "description": "How changes are asked for; without it every read is of everything.",
    "properties": {
        "field": {**_TEXT, "description": "The field that moves with every change."},
        "startParam": {**_TEXT, "description": "Sent with the start of the window, inclusive."},
        "endParam": {**_TEXT, "description": "Sent with its end, exclusive."},
        "format": {"enum": list(FORMATS), "default": "iso"},
        "granularitySeconds": {"type": "number", "exclusiveMinimum": 0, "maximum": 86_400},
        "safeLagSeconds": {"type": "number", "minimum": 0, "maximum": 86_400},
        "overlapSeconds": {"type": "number", "minimum": 0, "maximum": 604_800},
    },
    "required": ["field", "startParam"],
    "additionalProperties": False,
}
_FIELD = {
    "type": "object",
    "properties": {
        "name": _TEXT,
        "path": {**_TEXT, "description": "Where in a record it is, by default its name."},
        "type": {"enum": [kind.value for kind in FieldKind], "default": "text"},
        "label": _TEXT,
    },
    "required": ["name"],
    "additionalProperties": False,
}
_STREAM = {
    "type": "object",
    "properties": {
        "name": _TEXT,
        "label": _TEXT,
        "path": {**_TEXT, "description": "Below baseUrl, for example /v1/contacts."},
        "params": {**_PARAMETERS, "description": "Sent with every request."},
        "recordsPath": {
            **_TEXT,
            "description": "Where in the answer the list of records is, for example data.items;"
            " by default the answer is the list.",
        },
        "key": {**_TEXT, "description": "The field that names a record for ever."},
        "fields": {"type": "array", "items": _FIELD, "minItems": 1, "maxItems": 1000},
        "pagination": PAGINATION,
        "cursor": _CURSOR,
        "deletes": {"enum": ["snapshot", "none"], "default": "none"},
        "itemPath": {**_TEXT, "description": "Of one record, for example /v1/contacts/{key}."},
    },
    "required": ["name", "path", "key", "fields"],
    "additionalProperties": False,
}
CONFIG: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "baseUrl": {**_TEXT, "format": "uri", "description": "Where all paths start."},
        "headers": {**_PARAMETERS, "description": "Sent with every request; no credentials."},
        "checkPath": {**_TEXT, "description": "Asked by a check; by default the first stream."},
        "streams": {"type": "array", "items": _STREAM, "minItems": 1, "maxItems": 200},
    },
    "required": ["baseUrl", "streams"],
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class CursorWish:
    field: str
    start_param: str
    end_param: str | None
    format: str
    granularity: timedelta
    safe_lag: timedelta
    overlap: timedelta


@dataclass(frozen=True, slots=True)
class FieldWish:
    name: str
    path: tuple[str, ...]
    kind: FieldKind
    label: str


@dataclass(frozen=True, slots=True)
class StreamWish:
    """One stream as it is configured. `records` is the path of the list in an answer."""

    name: str
    label: str
    path: str
    params: Mapping[str, str]
    records: tuple[str, ...]
    key: str
    fields: tuple[FieldWish, ...]
    paging: Paging
    cursor: CursorWish | None
    snapshot: bool
    item_path: str | None


@dataclass(frozen=True, slots=True)
class CustomConfig:
    """A configuration that has been held to `CONFIG`."""

    headers: Mapping[str, str] = field(default_factory=dict)
    check_path: str | None = None
    streams: tuple[StreamWish, ...] = ()


def steps(path: str | None) -> tuple[str, ...]:
    """`data.items` as the names to follow."""
    return tuple(path.split(".")) if path else ()


def config_of(given: Mapping[str, Any]) -> CustomConfig:
    return CustomConfig(
        headers=given.get("headers", {}),
        check_path=given.get("checkPath"),
        streams=tuple(_stream(stream) for stream in given["streams"]),
    )


def _stream(given: Mapping[str, Any]) -> StreamWish:
    fields = {one["name"]: _field(one) for one in given["fields"]}
    cursor = given.get("cursor")
    needed = {given["key"]: FieldKind.TEXT}
    if cursor is not None:
        needed[cursor["field"]] = FieldKind.DATETIME
    for name, kind in needed.items():
        fields.setdefault(name, FieldWish(name, steps(name), kind, ""))
    return StreamWish(
        name=given["name"],
        label=given.get("label", given["name"]),
        path=given["path"],
        params=given.get("params", {}),
        records=steps(given.get("recordsPath")),
        key=given["key"],
        fields=tuple(fields.values()),
        paging=paging_of(given.get("pagination") or {"style": "none"}),
        cursor=None if cursor is None else _cursor(cursor),
        snapshot=given.get("deletes") == "snapshot",
        item_path=given.get("itemPath"),
    )


def _field(given: Mapping[str, Any]) -> FieldWish:
    name = given["name"]
    return FieldWish(
        name,
        steps(given.get("path", name)),
        FieldKind(given.get("type", "text")),
        given.get("label", name),
    )


def _cursor(given: Mapping[str, Any]) -> CursorWish:
    format_ = given.get("format", "iso")
    usual = {"date": 86_400.0, "iso_seconds": 1.0, "epoch_seconds": 1.0}.get(format_, 0.001)
    granularity = timedelta(seconds=given.get("granularitySeconds", usual))
    return CursorWish(
        field=given["field"],
        start_param=given["startParam"],
        end_param=given.get("endParam"),
        format=format_,
        granularity=granularity,
        safe_lag=timedelta(seconds=given.get("safeLagSeconds", 60)),
        overlap=timedelta(seconds=given.get("overlapSeconds", granularity.total_seconds())),
    )


def capabilities() -> dict[str, Json]:
    return {
        "directions": ["inbound"],
        "deletes": ["snapshot", "none"],
        "pagination": [str(style["title"]) for style in PAGINATION["oneOf"]],
    }

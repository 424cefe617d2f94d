"""Exports (/api/v1/exports), jobs and watches of directories, as OpenAPI describes them."""

from typing import Any

from api.openapi_known import (
    COUNT,
    MOMENT,
    PAGING,
    TEXT,
    Known,
    Paths,
    object_of,
    optional,
    page_of,
)
from api.openapi_parts import answer, body, parameter
from api.openapi_schemas import Schema, ref
from hubblewave_pipelines.core.export_formats import ENCODINGS, Compression, Format
from hubblewave_pipelines.storage.exports import ENDED, OPEN

_EXPORT = ref("platform_Export")
_WATCH = ref("platform_Watch")
_STATUS: Schema = {"type": "string", "enum": [*OPEN, *ENDED, "scheduled"]}
_ANY: Schema = {"type": "object", "additionalProperties": True}
_LINK = parameter("link", TEXT, "From POST .../link; opens the file without a credential.")


def _file(description: str) -> dict[str, Any]:
    content = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    return {"description": description, "content": content}


_FILE = {200: _file("The file."), 206: _file("The part that Range asks for.")}

PATHS: Paths = {
    ("GET", "/exports"): Known(
        "read",
        {200: answer("A page.", page_of("platform_Export"))},
        (
            *PAGING,
            parameter("status", _STATUS, "Exports of this status only."),
            parameter("scheduleId", TEXT, "Exports that this schedule made."),
        ),
    ),
    ("POST", "/exports"): Known(
        "write",
        {202: answer("Accepted; follow it at Location.", _EXPORT, "Location")},
        (),
        body(ref("platform_NewExport")),
        (409,),
    ),
    ("GET", "/exports/{export_id}"): Known("read", {200: answer("The export.", _EXPORT)}),
    ("DELETE", "/exports/{export_id}"): Known(
        "write", {204: answer("It is gone, and its file.")}, (), None, (409,)
    ),
    ("POST", "/exports/{export_id}/cancel"): Known(
        "write", {202: answer("The export.", _EXPORT)}, (), None, (409,)
    ),
    ("POST", "/exports/{export_id}/retry"): Known(
        "write",
        {202: answer("The export; follow it at Location.", _EXPORT, "Location")},
        (),
        None,
        (409,),
    ),
    ("POST", "/exports/{export_id}/link"): Known(
        "read",
        {201: answer("The link.", ref("platform_ExportLink"))},
        (),
        {**body(ref("platform_NewExportLink")), "required": False},
        (409, 410),
    ),
    ("GET", "/exports/{export_id}/download"): Known("read", _FILE, (_LINK,), None, (409, 410, 416)),
    ("GET", "/import-watches"): Known(
        "read", {200: answer("A page.", page_of("platform_Watch"))}, PAGING
    ),
    ("POST", "/import-watches"): Known(
        "admin",
        {201: answer("The watch.", _WATCH, "Location")},
        (),
        body(ref("platform_NewWatch")),
        (409,),
    ),
    ("GET", "/import-watches/{watch_id}"): Known("read", {200: answer("The watch.", _WATCH)}),
    ("DELETE", "/import-watches/{watch_id}"): Known("admin", {204: answer("It is gone.")}),
    ("GET", "/jobs/{job_id}"): Known("read", {200: answer("The job.", ref("platform_Job"))}),
}

_QUESTION: dict[str, Schema] = {
    "fields": {
        "type": "array",
        "items": TEXT,
        "description": "Columns in this order; `airline.name` follows a relation. Default: all.",
    },
    "where": {**_ANY, "description": "The filter, as lists take it."},
    "filter": {**_ANY, "description": "The same; both must hold."},
    "q": {"type": "string", "description": "Words that some text field holds."},
    "sort": {"type": "string", "description": "`-total,name`. Default: as stored."},
    "limit": {"type": "integer", "minimum": 1},
    "offset": {"type": "integer", "minimum": 0},
}
_FORMAT: Schema = {"type": "string", "enum": list(Format)}
_COMMON: dict[str, Schema] = {
    "id": TEXT,
    "entity": TEXT,
    "status": _STATUS,
    "progress": {"type": "integer", "minimum": 0, "maximum": 100},
    "totalRecords": optional("integer"),
    "error": {**_ANY, "nullable": True},
    "cancelRequested": {"type": "boolean"},
    "runUrl": optional("string"),
    "createdAt": MOMENT,
    "startedAt": MOMENT,
    "completedAt": MOMENT,
}

_WATCHED: dict[str, Schema] = {
    "entity": TEXT,
    "url": {"type": "string", "description": "A location that HUBBLEWAVE_FILE_LOCATIONS allows."},
    "pattern": {"type": "string", "default": "*", "example": "*.csv"},
    "mapping": {"type": "array", "items": _ANY, "nullable": True},
}

SCHEMAS: dict[str, Schema] = {
    "platform_NewExport": object_of(
        {
            "entity": {"type": "string", "description": "Name or plural of the entity."},
            **_QUESTION,
            "format": {**_FORMAT, "default": "csv"},
            "options": ref("platform_ExportOptions"),
            "schedule": {
                "type": "string",
                "description": "Five cron fields; a file is made whenever it is due.",
                "example": "30 2 * * *",
            },
            "timezone": {"type": "string", "default": "UTC", "example": "Europe/Berlin"},
            "destination": {
                "type": "string",
                "description": "Where the file is put as well: a location that "
                "HUBBLEWAVE_FILE_LOCATIONS allows; a folder when it ends in `/`.",
                "example": "s3://bucket/folder/",
            },
        },
        "entity",
        closed=True,
    ),
    "platform_ExportOptions": object_of(
        {
            "delimiter": {"type": "string", "default": ",", "description": "csv, tsv"},
            "encoding": {"type": "string", "enum": list(ENCODINGS), "default": "utf-8"},
            "header": {"type": "boolean", "default": True},
            "raw": {
                "type": "boolean",
                "default": False,
                "description": "Leave cells that a spreadsheet would evaluate as they are.",
            },
            "compression": {"type": "string", "enum": list(Compression), "default": "none"},
            "fileName": optional("string"),
        },
        closed=True,
    ),
    "platform_Export": object_of(
        {
            **_COMMON,
            **_QUESTION,
            "format": _FORMAT,
            "options": ref("platform_ExportOptions"),
            "recordsWritten": COUNT,
            "fileName": optional("string"),
            "fileSize": optional("integer"),
            "sha256": optional("string"),
            "manifest": {**_ANY, "nullable": True},
            "destination": optional("string"),
            "deliveredTo": optional("string"),
            "schedule": optional("string"),
            "timezone": optional("string"),
            "nextRunAt": MOMENT,
            "lastExportId": optional("string"),
            "scheduleId": optional("string"),
            "downloadUrl": optional("string"),
            "expiresAt": MOMENT,
        },
        "id",
        "entity",
        "format",
        "status",
    ),
    "platform_NewExportLink": object_of(
        {
            "expiresIn": {
                "type": "integer",
                "minimum": 1,
                "maximum": 604800,
                "default": 3600,
                "description": "Seconds.",
            }
        },
        closed=True,
    ),
    "platform_ExportLink": object_of({"url": TEXT, "expiresAt": MOMENT}, "url", "expiresAt"),
    "platform_NewWatch": object_of({**_WATCHED, "options": _ANY}, "entity", "url", closed=True),
    "platform_Watch": object_of(
        {
            "id": TEXT,
            **_WATCHED,
            "options": _ANY,
            "lastScanAt": MOMENT,
            "lastError": optional("string"),
            "createdAt": MOMENT,
            "files": {
                "type": "array",
                "items": object_of(
                    {
                        "path": TEXT,
                        "size": COUNT,
                        "seenAt": MOMENT,
                        "importId": optional("string"),
                        "error": optional("string"),
                    }
                ),
            },
        },
        "id",
        "entity",
        "url",
    ),
    "platform_Job": object_of(
        {
            "kind": {"type": "string", "enum": ["import", "export"]},
            **_COMMON,
            "status": TEXT,
            "url": {"type": "string", "description": "Where the rest of it is."},
        },
        "kind",
        "id",
        "status",
        "url",
    ),
}

"""Imports (/api/v1/imports), as OpenAPI describes them."""

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
from api.openapi_parts import answer
from api.openapi_schemas import Schema, ref

_IMPORT = ref("platform_Import")
_REVERT = ref("platform_ImportRevert")
_CSV = {
    "description": "The refused rows.",
    "content": {"text/csv": {"schema": TEXT}},
}
_EVENTS = {
    "description": "Server-sent events: `progress` with the import, then one named after its end.",
    "content": {"text/event-stream": {"schema": TEXT}},
}
_UPLOAD = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {
                    "file": {
                        "type": "string",
                        "format": "binary",
                        "description": "CSV, JSON, NDJSON, XML, XLSX, XLS or Parquet; also as .gz or .zip.",
                    },
                    "entity": {"type": "string", "description": "Name or plural of the entity."},
                    "mapping": {
                        "type": "string",
                        "description": 'JSON: [{"sourceField": "Name", "targetField": "name"}]; '
                        "found from the header when left out.",
                    },
                    "options": {
                        "type": "string",
                        "description": 'JSON: {"detectDuplicates": true, "uniqueFields": ["code"], '
                        '"duplicateStrategy": "update", "onError": "continue"}',
                    },
                },
                "required": ["file", "entity"],
            }
        }
    },
}


PATHS: Paths = {
    ("GET", "/imports"): Known(
        "read", {200: answer("A page.", page_of("platform_Import"))}, PAGING
    ),
    ("POST", "/imports"): Known(
        "write",
        {202: answer("Accepted; follow it at Location.", _IMPORT, "Location")},
        (),
        _UPLOAD,
        (409,),
    ),
    ("POST", "/imports/preview"): Known(
        "write",
        {200: answer("What the import would do.", ref("platform_ImportPreview"))},
        (),
        _UPLOAD,
    ),
    ("GET", "/imports/transforms"): Known(
        "read",
        {
            200: {
                "description": "JSON Schema 2020-12 of a mapping.",
                "content": {"application/schema+json": {"schema": {"type": "object"}}},
            }
        },
    ),
    ("GET", "/imports/{import_id}"): Known("read", {200: answer("The import.", _IMPORT)}),
    ("GET", "/imports/{import_id}/errors"): Known(
        "read", {200: answer("A page.", page_of("platform_RefusedRow"))}, PAGING
    ),
    ("GET", "/imports/{import_id}/events"): Known("read", {200: _EVENTS}),
    ("GET", "/imports/{import_id}/rejects"): Known("read", {200: _CSV}),
    ("POST", "/imports/{import_id}/cancel"): Known(
        "write", {202: answer("The import.", _IMPORT)}, (), None, (409,)
    ),
    ("POST", "/imports/{import_id}/revert"): Known(
        "write",
        {202: answer("Accepted; follow it at Location.", _REVERT, "Location")},
        (),
        None,
        (409,),
    ),
    ("GET", "/imports/{import_id}/revert"): Known("read", {200: answer("How it stands.", _REVERT)}),
    ("GET", "/imports/{import_id}/kept"): Known(
        "read", {200: answer("A page.", page_of("platform_KeptRecord"))}, PAGING
    ),
    ("POST", "/imports/{import_id}/retry"): Known(
        "write", {202: answer("The import.", _IMPORT, "Location")}, (), None, (409,)
    ),
}

SCHEMAS: dict[str, Schema] = {
    "platform_Import": object_of(
        {
            "id": {"type": "string", "format": "uuid"},
            "entity": TEXT,
            "fileName": TEXT,
            "fileSize": COUNT,
            "sha256": TEXT,
            "status": {
                "type": "string",
                "enum": ["pending", "processing", "completed", "failed", "partial", "cancelled"],
            },
            "progress": {"type": "integer", "minimum": 0, "maximum": 100},
            "bytesRead": COUNT,
            "rowsPerSecond": optional("integer"),
            "secondsLeft": optional("integer"),
            **{
                f"{word}Records": COUNT
                for word in (
                    "total",
                    "success",
                    "created",
                    "updated",
                    "unchanged",
                    "skipped",
                    "failed",
                )
            },
            "error": {"description": "Why the import as a whole failed; null when it did not."},
            "mapping": {"type": "array", "items": {"type": "object"}},
            "options": {"type": "object"},
            "detected": {
                "type": "object",
                "nullable": True,
                "description": "What was found out about the file: format, encoding, columns.",
            },
            "cancelRequested": {"type": "boolean"},
            "runUrl": optional("string"),
            "createdAt": MOMENT,
            "startedAt": MOMENT,
            "completedAt": MOMENT,
        },
        "id",
        "entity",
        "status",
    ),
    "platform_ImportRevert": object_of(
        {
            "id": {"type": "string", "format": "uuid"},
            "importId": {"type": "string", "format": "uuid"},
            "status": {
                "type": "string",
                "enum": ["pending", "processing", "completed", "partial", "failed"],
            },
            "removedRecords": COUNT,
            "restoredRecords": COUNT,
            "keptRecords": COUNT,
            "error": {"description": "Why the revert as a whole failed; null when it did not."},
            "runUrl": optional("string"),
            "createdAt": MOMENT,
            "completedAt": MOMENT,
        },
        "id",
        "importId",
        "status",
    ),
    "platform_KeptRecord": object_of(
        {
            "recordId": {"type": "string", "format": "uuid"},
            "reason": {
                "type": "string",
                "enum": ["edited", "deleted", "referenced", "unique", "rule"],
            },
        },
        "recordId",
        "reason",
    ),
    "platform_ImportPreview": object_of(
        {
            "detected": {"type": "object"},
            "columns": {"type": "array", "items": {"type": "object"}},
            "suggestions": {"type": "array", "items": {"type": "object"}},
            "mapping": {"description": "The mapping given, else the suggested one."},
            "problems": {"type": "array", "items": {"type": "object"}},
            "rows": {"type": "array", "items": {"type": "object"}},
        },
        "detected",
        "columns",
        "suggestions",
        "problems",
        "rows",
    ),
    "platform_RefusedRow": object_of(
        {
            "row": COUNT,
            "field": optional("string"),
            "code": TEXT,
            "message": TEXT,
            "raw": optional("string"),
        },
        "row",
        "code",
        "message",
    ),
}

"""The fixed paths of the platform (definitions, imports, API keys), as OpenAPI describes them."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from api.openapi_parts import answer, body, in_path, operation, parameter
from api.openapi_schemas import Schema, ref
from hubblewave_pipelines.core.entity import FieldKind, OnDelete, RelationKind
from hubblewave_pipelines.core.scope import PLANS, SCOPES

_TEXT: Schema = {"type": "string"}
_FLAG: Schema = {"type": "boolean", "default": False}
_MOMENT: Schema = {"type": "string", "format": "date-time", "nullable": True}
_COUNT: Schema = {"type": "integer"}


@dataclass(frozen=True, slots=True)
class Fixed:
    """A route of the application: its path below /api/v1, method, and what its docstring says."""

    path: str
    method: str
    name: str
    summary: str


def _page_of(name: str) -> Schema:
    items = {"type": "array", "items": ref(name)}
    properties = {"items": items, "pageInfo": ref("platform_PageInfo")}
    return {"type": "object", "properties": properties, "required": ["items", "pageInfo"]}


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of a fixed path beyond its being there."""

    scope: str
    answers: Mapping[int, dict[str, Any]]
    parameters: tuple[Schema, ...] = ()
    request: dict[str, Any] | None = None
    refusals: tuple[int, ...] = field(default=())


_PAGING = (
    parameter("page", {"type": "integer", "minimum": 1, "default": 1}, "The number of the page."),
    parameter(
        "pageSize",
        {"type": "integer", "minimum": 1, "maximum": 1000, "default": 20},
        "Items on a page.",
    ),
)
_DRY_RUN = parameter("dryRun", _FLAG, "Say what would be done, and do nothing.")
_FORCE = parameter("force", _FLAG, "Remove what still holds data.")
_VERSION = parameter(
    "version",
    {"type": "string", "enum": ["3.0", "3.0.3", "3.1", "3.1.0"]},
    "The form to answer in.",
)
_DEFINITION = ref("platform_EntityDefinition")
_PLAN_OR = {"oneOf": [_DEFINITION, ref("platform_ChangePlan")]}
_IMPORT = ref("platform_Import")
_KEY = ref("platform_ApiKey")
_CSV = {
    "description": "The refused rows.",
    "content": {"text/csv": {"schema": _TEXT}},
}
_UPLOAD = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {
                    "file": {"type": "string", "format": "binary", "description": "A CSV file."},
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

_KNOWN: Mapping[tuple[str, str], _Known] = {
    ("GET", "/entities"): _Known(
        "read", {200: answer("A page.", _page_of("platform_EntityDefinition"))}, _PAGING
    ),
    ("POST", "/entities"): _Known(
        "admin",
        {
            200: answer("The steps (dryRun).", ref("platform_ChangePlan")),
            201: answer("The definition.", _DEFINITION, "Location"),
        },
        (_DRY_RUN,),
        body(_DEFINITION),
        (409,),
    ),
    ("GET", "/entities/{name}"): _Known("read", {200: answer("The definition.", _DEFINITION)}),
    ("PUT", "/entities/{name}"): _Known(
        "admin",
        {200: answer("The definition, or the steps (dryRun).", _PLAN_OR)},
        (_DRY_RUN, _FORCE),
        body(_DEFINITION),
        (409,),
    ),
    ("DELETE", "/entities/{name}"): _Known(
        "admin",
        {
            200: answer("The steps (dryRun).", ref("platform_ChangePlan")),
            204: answer("It is gone."),
        },
        (_DRY_RUN, _FORCE),
        None,
        (409,),
    ),
    ("GET", "/imports"): _Known(
        "read", {200: answer("A page.", _page_of("platform_Import"))}, _PAGING
    ),
    ("POST", "/imports"): _Known(
        "write",
        {202: answer("Accepted; follow it at Location.", _IMPORT, "Location")},
        (),
        _UPLOAD,
        (409,),
    ),
    ("GET", "/imports/{import_id}"): _Known("read", {200: answer("The import.", _IMPORT)}),
    ("GET", "/imports/{import_id}/errors"): _Known(
        "read", {200: answer("A page.", _page_of("platform_RefusedRow"))}, _PAGING
    ),
    ("GET", "/imports/{import_id}/rejects"): _Known("read", {200: _CSV}),
    ("POST", "/imports/{import_id}/cancel"): _Known(
        "write", {202: answer("The import.", _IMPORT)}, (), None, (409,)
    ),
    ("POST", "/imports/{import_id}/retry"): _Known(
        "write", {202: answer("The import.", _IMPORT, "Location")}, (), None, (409,)
    ),
    ("GET", "/api-keys"): _Known(
        "admin", {200: answer("A page.", _page_of("platform_ApiKey"))}, _PAGING
    ),
    ("POST", "/api-keys"): _Known(
        "admin",
        {201: answer("The key; `key` is shown this once.", _KEY, "Location")},
        (),
        body(ref("platform_NewApiKey")),
        (409,),
    ),
    ("GET", "/api-keys/{key_id}"): _Known("admin", {200: answer("The key.", _KEY)}),
    ("DELETE", "/api-keys/{key_id}"): _Known("admin", {204: answer("It is revoked.")}),
    ("GET", "/openapi.json"): _Known(
        "read", {200: answer("This document.", {"type": "object"})}, (_VERSION,)
    ),
}
_PATH_WORD = re.compile(r"\{(\w+)\}")


def paths(routes: Iterable[Fixed]) -> dict[str, dict[str, Any]]:
    """Every fixed path the application answers; of one unknown here, that it is there."""
    found: dict[str, dict[str, Any]] = {}
    for route in routes:
        known = _KNOWN.get((route.method, route.path)) or _Known(
            "read" if route.method == "GET" else "write", {200: answer("Done.", {"type": "object"})}
        )
        in_order = [
            in_path(word, f"Which {word.removesuffix('_id').replace('_', ' ')}.", _TEXT)
            for word in _PATH_WORD.findall(route.path)
        ]
        found.setdefault(route.path, {})[route.method.lower()] = operation(
            f"platform_{route.name}",
            "Platform",
            route.summary,
            known.answers,
            scope=known.scope,
            refusals=known.refusals,
            parameters=[*in_order, *known.parameters],
            request=known.request,
        )
    return found


def _object(properties: dict[str, Schema], *required: str, closed: bool = False) -> Schema:
    found: Schema = {"type": "object", "properties": properties}
    if required:
        found["required"] = list(required)
    if closed:
        found["additionalProperties"] = False
    return found


def _optional(kind: str) -> Schema:
    return {"type": kind, "nullable": True}


SCHEMAS: dict[str, Schema] = {
    "platform_EntityDefinition": _object(
        {
            "id": {"type": "string", "readOnly": True},
            "slug": {"type": "string", "readOnly": True},
            "name": _TEXT,
            "pluralName": _TEXT,
            "description": _optional("string"),
            "fields": {"type": "array", "items": ref("platform_Field"), "maxItems": 200},
            "relationships": {"type": "array", "items": ref("platform_Relationship")},
        },
        "name",
        "pluralName",
        "fields",
    )
    | {
        "example": {
            "name": "Order",
            "pluralName": "Orders",
            "fields": [
                {"name": "number", "type": "text", "required": True, "unique": True},
                {"name": "total", "type": "decimal", "min": 0},
            ],
        }
    },
    "platform_Field": _object(
        {
            "id": {"type": "string", "description": "Keeps a field's identity when it is renamed."},
            "name": _TEXT,
            "type": {"type": "string", "enum": [kind.value for kind in FieldKind]},
            "required": {"type": "boolean"},
            "unique": {"type": "boolean"},
            "default": {},
            "description": _optional("string"),
            "example": {},
            "format": _optional("string"),
            "enum": {"type": "array", "items": _TEXT, "nullable": True},
            "computed": {"type": "boolean"},
            "maxLength": _optional("integer"),
            "min": {},
            "max": {},
            "pattern": _optional("string"),
        },
        "name",
        "type",
    ),
    "platform_Relationship": _object(
        {
            "id": _TEXT,
            "name": _TEXT,
            "type": {"type": "string", "enum": [kind.value for kind in RelationKind]},
            "targetEntity": _TEXT,
            "field": _optional("string"),
            "required": {"type": "boolean"},
            "onDelete": {"type": "string", "enum": [kind.value for kind in OnDelete]},
            "description": _optional("string"),
        },
        "name",
        "type",
        "targetEntity",
    ),
    "platform_ChangePlan": _object(
        {
            "steps": {"type": "array", "items": {"type": "object"}},
            "breaking": {"type": "boolean"},
            "rewrite": {"type": "boolean"},
            "destructive": {"type": "boolean"},
        },
        "steps",
        "breaking",
        "rewrite",
        "destructive",
    ),
    "platform_Import": _object(
        {
            "id": {"type": "string", "format": "uuid"},
            "entity": _TEXT,
            "fileName": _TEXT,
            "fileSize": _COUNT,
            "sha256": _TEXT,
            "status": {
                "type": "string",
                "enum": ["pending", "processing", "completed", "failed", "partial", "cancelled"],
            },
            "progress": {"type": "integer", "minimum": 0, "maximum": 100},
            **{
                f"{word}Records": _COUNT
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
            "cancelRequested": {"type": "boolean"},
            "runUrl": _optional("string"),
            "createdAt": _MOMENT,
            "startedAt": _MOMENT,
            "completedAt": _MOMENT,
        },
        "id",
        "entity",
        "status",
    ),
    "platform_RefusedRow": _object(
        {
            "row": _COUNT,
            "field": _optional("string"),
            "code": _TEXT,
            "message": _TEXT,
            "raw": _optional("string"),
        },
        "row",
        "code",
        "message",
    ),
    "platform_NewApiKey": _object(
        {
            "name": {"type": "string", "minLength": 1, "maxLength": 200},
            "scopes": {
                "type": "array",
                "items": {"type": "string", "enum": list(SCOPES)},
                "minItems": 1,
            },
            "plan": {"type": "string", "enum": [*PLANS, None], "nullable": True},
            "expiresAt": _MOMENT,
        },
        "name",
        "scopes",
        closed=True,
    ),
    "platform_ApiKey": _object(
        {
            "id": _TEXT,
            "name": _TEXT,
            "prefix": _TEXT,
            "scopes": {"type": "array", "items": {"type": "string", "enum": list(SCOPES)}},
            "plan": _optional("string"),
            "expiresAt": _MOMENT,
            "lastUsedAt": _MOMENT,
            "revokedAt": _MOMENT,
            "createdAt": _MOMENT,
            "key": {"type": "string", "description": "The key's text, only when it is made."},
        },
        "id",
        "name",
        "prefix",
        "scopes",
    ),
}

"""Entity definitions (/api/v1/entities), as OpenAPI describes them."""

from api.openapi_known import (
    FLAG,
    PAGING,
    TEXT,
    Known,
    Paths,
    object_of,
    optional,
    page_of,
)
from api.openapi_parts import answer, body, parameter, shared
from api.openapi_schemas import Schema, ref
from hubblewave_pipelines.core.entity import FieldKind, OnDelete, RelationKind

_DRY_RUN = parameter("dryRun", FLAG, "Say what would be done, and do nothing.")
_FORCE = parameter("force", FLAG, "Remove what still holds data.")
_KNOWN_TAGS: Schema = {
    "name": "If-None-Match",
    "in": "header",
    "description": "ETags the client has; 304 when the definition is still one of them.",
    "schema": TEXT,
}
_DEFINITION = ref("platform_EntityDefinition")
_PLAN_OR = {"oneOf": [_DEFINITION, ref("platform_ChangePlan")]}

PATHS: Paths = {
    ("GET", "/entities"): Known(
        "read", {200: answer("A page.", page_of("platform_EntityDefinition"))}, PAGING
    ),
    ("POST", "/entities"): Known(
        "admin",
        {
            200: answer("The steps (dryRun).", ref("platform_ChangePlan")),
            201: answer("The definition.", _DEFINITION, "Location", "ETag"),
        },
        (_DRY_RUN,),
        body(_DEFINITION),
        (409,),
    ),
    ("GET", "/entities/{name}"): Known(
        "read",
        {
            200: answer("The definition.", _DEFINITION, "ETag"),
            304: answer("The client has this state of it.", None, "ETag"),
        },
        (_KNOWN_TAGS,),
    ),
    ("PUT", "/entities/{name}"): Known(
        "admin",
        {200: answer("The definition, or the steps (dryRun).", _PLAN_OR, "ETag")},
        (_DRY_RUN, _FORCE, shared("IfMatch")),
        body(_DEFINITION),
        (409, 412),
    ),
    ("DELETE", "/entities/{name}"): Known(
        "admin",
        {
            200: answer("The steps (dryRun).", ref("platform_ChangePlan")),
            204: answer("It is gone."),
        },
        (_DRY_RUN, _FORCE, shared("IfMatch")),
        None,
        (409, 412),
    ),
}

SCHEMAS: dict[str, Schema] = {
    "platform_EntityDefinition": object_of(
        {
            "id": {"type": "string", "readOnly": True},
            "slug": {"type": "string", "readOnly": True},
            "name": TEXT,
            "pluralName": TEXT,
            "description": optional("string"),
            "requireIfMatch": {
                **FLAG,
                "description": "Whether whoever changes a record must name its version.",
            },
            "fields": {"type": "array", "items": ref("platform_Field"), "maxItems": 200},
            "relationships": {"type": "array", "items": ref("platform_Relationship")},
            "warnings": {
                "type": "array",
                "items": TEXT,
                "readOnly": True,
                "description": "What may break clients that were written for the old definition.",
            },
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
    "platform_Field": object_of(
        {
            "id": {"type": "string", "description": "Keeps a field's identity when it is renamed."},
            "name": TEXT,
            "type": {"type": "string", "enum": [kind.value for kind in FieldKind]},
            "required": {"type": "boolean"},
            "unique": {"type": "boolean"},
            "default": {},
            "description": optional("string"),
            "example": {},
            "format": optional("string"),
            "enum": {"type": "array", "items": TEXT, "nullable": True},
            "computed": {"type": "boolean"},
            "maxLength": optional("integer"),
            "min": {},
            "max": {},
            "pattern": optional("string"),
        },
        "name",
        "type",
    ),
    "platform_Relationship": object_of(
        {
            "id": TEXT,
            "name": TEXT,
            "type": {"type": "string", "enum": [kind.value for kind in RelationKind]},
            "targetEntity": TEXT,
            "field": optional("string"),
            "required": {"type": "boolean"},
            "onDelete": {"type": "string", "enum": [kind.value for kind in OnDelete]},
            "description": optional("string"),
        },
        "name",
        "type",
        "targetEntity",
    ),
    "platform_ChangePlan": object_of(
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
}

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
from api.openapi_parts import answer, body, parameter
from api.openapi_schemas import Schema, ref
from hubblewave_pipelines.core.entity import FieldKind, OnDelete, RelationKind

_DRY_RUN = parameter("dryRun", FLAG, "Say what would be done, and do nothing.")
_FORCE = parameter("force", FLAG, "Remove what still holds data.")
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
            201: answer("The definition.", _DEFINITION, "Location"),
        },
        (_DRY_RUN,),
        body(_DEFINITION),
        (409,),
    ),
    ("GET", "/entities/{name}"): Known("read", {200: answer("The definition.", _DEFINITION)}),
    ("PUT", "/entities/{name}"): Known(
        "admin",
        {200: answer("The definition, or the steps (dryRun).", _PLAN_OR)},
        (_DRY_RUN, _FORCE),
        body(_DEFINITION),
        (409,),
    ),
    ("DELETE", "/entities/{name}"): Known(
        "admin",
        {
            200: answer("The steps (dryRun).", ref("platform_ChangePlan")),
            204: answer("It is gone."),
        },
        (_DRY_RUN, _FORCE),
        None,
        (409,),
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

"""API keys (/api/v1/api-keys), as OpenAPI describes them."""

from api.openapi_known import (
    MOMENT,
    PAGING,
    TEXT,
    Known,
    Paths,
    object_of,
    optional,
    page_of,
)
from api.openapi_parts import answer, body
from api.openapi_schemas import Schema, ref
from hubblewave_pipelines.core.scope import PLANS, SCOPES

_KEY = ref("platform_ApiKey")

PATHS: Paths = {
    ("GET", "/api-keys"): Known(
        "admin", {200: answer("A page.", page_of("platform_ApiKey"))}, PAGING
    ),
    ("POST", "/api-keys"): Known(
        "admin",
        {201: answer("The key; `key` is shown this once.", _KEY, "Location")},
        (),
        body(ref("platform_NewApiKey")),
        (409,),
    ),
    ("GET", "/api-keys/{key_id}"): Known("admin", {200: answer("The key.", _KEY)}),
    ("DELETE", "/api-keys/{key_id}"): Known("admin", {204: answer("It is revoked.")}),
}

SCHEMAS: dict[str, Schema] = {
    "platform_NewApiKey": object_of(
        {
            "name": {"type": "string", "minLength": 1, "maxLength": 200},
            "scopes": {
                "type": "array",
                "items": {"type": "string", "enum": list(SCOPES)},
                "minItems": 1,
            },
            "plan": {"type": "string", "enum": [*PLANS, None], "nullable": True},
            "expiresAt": MOMENT,
        },
        "name",
        "scopes",
        closed=True,
    ),
    "platform_ApiKey": object_of(
        {
            "id": TEXT,
            "name": TEXT,
            "prefix": TEXT,
            "scopes": {"type": "array", "items": {"type": "string", "enum": list(SCOPES)}},
            "plan": optional("string"),
            "expiresAt": MOMENT,
            "lastUsedAt": MOMENT,
            "revokedAt": MOMENT,
            "createdAt": MOMENT,
            "key": {"type": "string", "description": "The key's text, only when it is made."},
        },
        "id",
        "name",
        "prefix",
        "scopes",
    ),
}

"""Connectors (/api/v1/connectors), as OpenAPI describes them."""

from api.openapi_known import FLAG, MOMENT, PAGING, TEXT, Known, Paths, object_of, optional, page_of
from api.openapi_parts import answer, body, parameter
from api.openapi_schemas import Schema, ref

_CONNECTOR, _ASK = ref("platform_Connector"), ref("platform_ConnectorAsk")
_ONE = "/connectors/{connector_id}"
_BODY = body(ref("platform_NewConnector"))

PATHS: Paths = {
    ("GET", "/connectors/types"): Known(
        "read",
        {
            200: answer(
                "Every type.",
                object_of(
                    {"items": {"type": "array", "items": ref("platform_ConnectorType")}}, "items"
                ),
            )
        },
    ),
    ("GET", "/connectors"): Known(
        "admin", {200: answer("A page.", page_of("platform_Connector"))}, PAGING
    ),
    ("POST", "/connectors"): Known(
        "admin", {201: answer("The connector.", _CONNECTOR, "Location")}, (), _BODY, (409,)
    ),
    ("GET", _ONE): Known("admin", {200: answer("The connector.", _CONNECTOR)}),
    ("PUT", _ONE): Known(
        "admin", {200: answer("The connector as it is now.", _CONNECTOR)}, (), _BODY, (409,)
    ),
    ("PATCH", _ONE): Known(
        "admin",
        {200: answer("The connector as it is now.", _CONNECTOR)},
        (),
        body(ref("platform_ConnectorPatch")),
        (409,),
    ),
    ("DELETE", _ONE): Known(
        "admin",
        {204: answer("It is gone.")},
        (parameter("force", FLAG, "Also remove the sync jobs that use it."),),
        None,
        (409,),
    ),
    ("POST", f"{_ONE}/check"): Known(
        "admin",
        {
            200: answer("The report is `result`.", _ASK, "Location"),
            202: answer("It takes longer.", _ASK, "Location"),
        },
        (),
        None,
        (409,),
    ),
    ("GET", f"{_ONE}/discover"): Known(
        "admin",
        {
            200: answer("The streams are in `result`.", _ASK),
            202: answer("It takes longer.", _ASK, "Location"),
        },
        (
            parameter("stream", TEXT, "One stream, with its fields."),
            parameter("refresh", FLAG, "Ask the system even when the last answer is fresh."),
        ),
        None,
        (409,),
    ),
    ("POST", "/inbound/{connector_id}"): Known(
        "read",
        {
            202: answer(
                "It is stored.", object_of({"id": {"type": "string", "format": "uuid"}}, "id")
            )
        },
    ),
    ("GET", f"{_ONE}/asks/{{ask_id}}"): Known("admin", {200: answer("How it stands.", _ASK)}),
}

_FREE: Schema = {"type": "object", "additionalProperties": True}
_WRITTEN: dict[str, Schema] = {
    "name": {"type": "string", "minLength": 1, "maxLength": 200},
    "type": {"type": "string", "description": "One of /connectors/types; stays as it is."},
    "config": {**_FREE, "description": "As the type's `config` schema says; `baseUrl` at least."},
    "credentials": {
        **_FREE,
        "writeOnly": True,
        "description": "As the type's `credentials` schema says, told apart by `kind`.",
    },
    "status": {"type": "string", "enum": ["active", "inactive"], "default": "active"},
    "limits": object_of(
        {
            "requestsPerSecond": {"type": "number", "maximum": 1000},
            "burst": {"type": "integer", "minimum": 1, "maximum": 1000},
            "reservePercent": {"type": "number", "minimum": 0, "maximum": 90},
        },
        closed=True,
    ),
    "inboundSecret": {"type": "string", "minLength": 16, "maxLength": 256, "writeOnly": True},
}

SCHEMAS: dict[str, Schema] = {
    "platform_NewConnector": object_of(_WRITTEN, "name", "type", "config", closed=True),
    "platform_ConnectorPatch": object_of(_WRITTEN, closed=True),
    "platform_Connector": object_of(
        {
            "id": {"type": "string", "format": "uuid"},
            "name": TEXT,
            "type": TEXT,
            "config": _FREE,
            "credentials": {
                **object_of(
                    {
                        "kind": TEXT,
                        "given": {"type": "array", "items": TEXT},
                        "generation": {"type": "integer"},
                        "rejected": {"type": "boolean"},
                        "expiresAt": MOMENT,
                        "givenAt": MOMENT,
                        "renewedAt": MOMENT,
                    }
                ),
                "nullable": True,
                "description": "What there is, by name; never a value.",
            },
            "limits": _WRITTEN["limits"],
            "status": {"type": "string", "enum": ["active", "inactive", "error"]},
            "lastSyncAt": MOMENT,
            "lastError": {**_FREE, "nullable": True},
            "lastCheck": {**_FREE, "nullable": True},
            "lastCheckAt": MOMENT,
            "inboundSecretSet": {"type": "boolean"},
            "createdAt": MOMENT,
            "updatedAt": MOMENT,
        },
        "id",
        "name",
        "type",
        "config",
        "status",
    ),
    "platform_ConnectorType": object_of(
        {
            "name": TEXT,
            "title": TEXT,
            "config": {**_FREE, "description": "JSON Schema 2020-12."},
            "credentials": {**_FREE, "description": "JSON Schema 2020-12."},
            "capabilities": _FREE,
        },
        "name",
        "title",
        "config",
        "credentials",
    ),
    "platform_ConnectorAsk": object_of(
        {
            "id": {"type": "string", "format": "uuid"},
            "connectorId": {"type": "string", "format": "uuid"},
            "kind": {"type": "string", "enum": ["check", "discover"]},
            "stream": optional("string"),
            "status": {
                "type": "string",
                "enum": ["pending", "processing", "completed", "failed", "cancelled"],
            },
            "result": {**_FREE, "nullable": True},
            "error": {**_FREE, "nullable": True},
            "url": TEXT,
            "runUrl": optional("string"),
            "createdAt": MOMENT,
            "startedAt": MOMENT,
            "completedAt": MOMENT,
        },
        "id",
        "kind",
        "status",
    ),
}

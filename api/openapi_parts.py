"""What all operations of an OpenAPI document share: problems, headers, page information, security."""

from collections.abc import Mapping, Sequence
from typing import Any

from api.openapi_schemas import Schema, ref
from api.problems import MEDIA_TYPE
from hubblewave_pipelines.core.entity import Json

JSON = "application/json"
_UUID: Schema = {"type": "string", "format": "uuid"}

# status -> (name of the response, when it is given)
_PROBLEMS: Mapping[int, tuple[str, str]] = {
    400: ("BadRequest", "The request cannot be read; `errors` names each parameter at fault."),
    401: ("Unauthenticated", "No credential, or one that is unknown, expired or revoked."),
    403: ("Forbidden", "The credential lacks the scope."),
    404: ("NotFound", "No such path, entity or record in this tenant."),
    406: ("NotAcceptable", "The Accept header rules out every form of the answer."),
    409: ("Conflict", "The present state is in the way: a value is taken, a record referred to."),
    410: ("Gone", "It was there, and its time is over."),
    412: ("PreconditionFailed", "If-Match or If-None-Match does not fit the record's version."),
    413: ("TooLarge", "The body or a list in it is over its limit."),
    415: ("UnsupportedMedia", "The Content-Type or Content-Encoding is not one read here."),
    416: ("RangeNotSatisfiable", "No part of the range lies inside the file."),
    422: ("Invalid", "The body breaks rules; `errors` names each with its place."),
    428: ("PreconditionRequired", "This entity's records are changed with If-Match only."),
    429: ("RateLimited", "The plan is used up for now; wait `Retry-After` seconds."),
    503: ("Unavailable", "The database cannot be had right now; nothing was written."),
}
ALWAYS = (400, 401, 403, 404, 406, 429, 503)
BODY = (413, 415, 422)


def parameter(name: str, schema: Schema, description: str, **more: Json) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": schema, **more}


def in_path(name: str, description: str, schema: Schema | None = None) -> dict[str, Any]:
    where = {"name": name, "in": "path", "required": True}
    return {**where, "description": description, "schema": schema or _UUID}


def shared(name: str) -> Schema:
    return {"$ref": f"#/components/parameters/{name}"}


def body(schema: Schema, *media: str) -> dict[str, Any]:
    kinds = media or (JSON,)
    return {"required": True, "content": {kind: {"schema": schema} for kind in kinds}}


def answer(description: str, schema: Schema | None = None, *headers: str) -> dict[str, Any]:
    """A successful response; every one carries the headers of the rate limit and the request id."""
    names = (*headers, "X-Request-Id", "X-RateLimit-Limit", "X-RateLimit-Remaining")
    names += ("X-RateLimit-Reset", "RateLimit", "RateLimit-Policy", "X-Schema-Version")
    shown = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
    found: dict[str, Any] = {"description": description, "headers": shown}
    if schema is not None:
        found["content"] = {JSON: {"schema": schema}}
    return found


def operation(
    name: str,
    tag: str,
    summary: str,
    answers: Mapping[int, dict[str, Any]],
    *,
    scope: str,
    refusals: Sequence[int] = (),
    parameters: Sequence[Schema] = (),
    request: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """One operation with the refusals that any can give beside its own."""
    # A key that was used for another request is refused by 422, one at work by 409.
    keyed = (409, 422) if shared("IdempotencyKey") in parameters else ()
    statuses = sorted({*ALWAYS, *refusals, *keyed, *(BODY if request is not None else ())})
    refused = {str(s): {"$ref": f"#/components/responses/{_PROBLEMS[s][0]}"} for s in statuses}
    found: dict[str, Any] = {
        "operationId": name,
        "tags": [tag],
        "summary": summary,
        "description": f"Needs the scope `{scope}`.",
        "security": [{"ApiKeyAuth": []}, {"OAuth2": [scope]}],
        "responses": {**{str(status): given for status, given in answers.items()}, **refused},
    }
    if parameters:
        found["parameters"] = list(parameters)
    if request is not None:
        found["requestBody"] = request
    return found


def _problem(status: int) -> dict[str, Any]:
    _, description = _PROBLEMS[status]
    headers = {"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}}
    if status in (429, 503):
        headers["Retry-After"] = {"$ref": "#/components/headers/Retry-After"}
    if status == 401:
        headers["WWW-Authenticate"] = {"$ref": "#/components/headers/WWW-Authenticate"}
    content = {MEDIA_TYPE: {"schema": ref("platform_Problem")}}
    return {"description": description, "headers": headers, "content": content}


_IF_MATCH: Schema = {
    "name": "If-Match",
    "in": "header",
    "description": 'Only if it is in this state: its ETag, like `"3"`, or *.',
    "schema": {"type": "string"},
}


def _header(description: str, kind: str = "string", **more: Json) -> dict[str, Any]:
    return {"description": description, "schema": {"type": kind, **more}}


def components(base: str) -> dict[str, Any]:
    """The parts that every tenant's document has; `base` is where OAuth is offered."""
    text: Schema = {"type": "string"}
    return {
        "schemas": _SCHEMAS,
        "responses": {name: _problem(status) for status, (name, _) in _PROBLEMS.items()},
        "headers": {
            "ETag": _header("The record's version, for If-Match and If-None-Match."),
            "Location": _header("Where what was made is found."),
            "Link": _header('The pages beside this one: rel="next" and rel="prev" (RFC 8288).'),
            "Retry-After": _header("Seconds to wait.", "integer"),
            "WWW-Authenticate": _header("How to authenticate."),
            "X-Request-Id": _header("Names this request in logs; a client may choose it."),
            "X-RateLimit-Limit": _header("Requests the plan allows in a minute.", "integer"),
            "X-RateLimit-Remaining": _header("Requests left in this minute.", "integer"),
            "X-RateLimit-Reset": _header(
                "When the oldest counted request leaves the minute.", format="date-time"
            ),
            "X-Schema-Version": _header(
                "The version of the tenant's definitions that the answer was made from.", "integer"
            ),
            "RateLimit": _header("The same, in the form of the IETF draft."),
            "RateLimit-Policy": _header("The plan's limit and window, in the IETF draft's form."),
        },
        "parameters": {
            "IfMatch": _IF_MATCH,
            "RequiredIfMatch": {**_IF_MATCH, "required": True},
            "Prefer": {
                "name": "Prefer",
                "in": "header",
                "description": "`return=minimal` or `return=representation` of a write, "
                "`count=exact` or `count=estimated` of a list; with `handling=strict`, what would "
                "be ignored is refused (RFC 7240).",
                "schema": text,
            },
            "IdempotencyKey": {
                "name": "Idempotency-Key",
                "in": "header",
                "description": "Any text that names this request: sent again under the same key "
                "within 24 hours it has one effect and the same answer.",
                "schema": {"type": "string", "minLength": 1, "maxLength": 255},
            },
        },
        "securitySchemes": {
            "ApiKeyAuth": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            "OAuth2": {
                "type": "oauth2",
                "flows": {
                    "authorizationCode": {
                        "authorizationUrl": f"{base}/oauth/authorize",
                        "tokenUrl": f"{base}/oauth/token",
                        "scopes": {
                            "read": "Read access",
                            "write": "Write access",
                            "admin": "Administrative access",
                        },
                    }
                },
            },
        },
    }


def _nullable(kind: str, **more: Json) -> Schema:
    return {"type": kind, "nullable": True, **more}


_SCHEMAS: dict[str, Schema] = {
    "platform_PageInfo": {
        "type": "object",
        "properties": {
            "currentPage": _nullable("integer"),
            "pageSize": {"type": "integer"},
            "totalPages": _nullable("integer"),
            "totalItems": _nullable("integer", description="null unless `count` asked for it."),
            "hasNextPage": {"type": "boolean"},
            "hasPreviousPage": {"type": "boolean"},
            "startCursor": _nullable("string"),
            "endCursor": _nullable("string", description="Give it as `after` for the next page."),
        },
        "required": [
            "currentPage",
            "pageSize",
            "totalPages",
            "totalItems",
            "hasNextPage",
            "hasPreviousPage",
            "startCursor",
            "endCursor",
        ],
    },
    "platform_ShortPageInfo": {
        "type": "object",
        "properties": {
            "pageSize": {"type": "integer"},
            "hasNextPage": {"type": "boolean"},
            "endCursor": _nullable("string"),
        },
        "required": ["pageSize", "hasNextPage"],
    },
    "platform_Fault": {
        "type": "object",
        "description": "One thing wrong, and where: a JSON pointer into the body or a parameter.",
        "properties": {
            "pointer": {"type": "string", "example": "#/total"},
            "parameter": {"type": "string", "example": "filter[total][gte]"},
            "code": {"type": "string"},
            "detail": {"type": "string"},
        },
        "required": ["code", "detail"],
    },
    "platform_Problem": {
        "type": "object",
        "description": "A refusal (RFC 9457). `code` is stable; `detail` is for people.",
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "instance": {"type": "string"},
            "code": {"type": "string"},
            "requestId": {"type": "string"},
            "errors": {"type": "array", "items": ref("platform_Fault")},
            "retryAfter": {"type": "number", "description": "Seconds to wait."},
        },
        "required": ["type", "title", "status", "detail", "instance", "code", "requestId"],
        "example": {
            "type": "urn:hubblewave:problem:request.invalid",
            "title": "Validation failed",
            "status": 422,
            "detail": "1 field is invalid.",
            "instance": "/api/v1/orders",
            "code": "request.invalid",
            "requestId": "5f0c3b0e6d0f4b6a9d8e7c6b5a493827",
            "errors": [
                {"pointer": "#/total", "code": "type", "detail": "total expected a decimal"}
            ],
        },
    },
}

"""What a fixed path says of itself in the OpenAPI document, and the schemas such paths share."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from api.openapi_parts import parameter
from api.openapi_schemas import Schema, ref

TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean", "default": False}
MOMENT: Schema = {"type": "string", "format": "date-time", "nullable": True}
COUNT: Schema = {"type": "integer"}


def page_of(name: str) -> Schema:
    items = {"type": "array", "items": ref(name)}
    properties = {"items": items, "pageInfo": ref("platform_PageInfo")}
    return {"type": "object", "properties": properties, "required": ["items", "pageInfo"]}


def object_of(properties: dict[str, Schema], *required: str, closed: bool = False) -> Schema:
    found: Schema = {"type": "object", "properties": properties}
    if required:
        found["required"] = list(required)
    if closed:
        found["additionalProperties"] = False
    return found


def optional(kind: str) -> Schema:
    return {"type": kind, "nullable": True}


def asked_of(properties: dict[str, Schema], *required: str) -> Schema:
    """The body of a request where null for what may be left out is as leaving it out."""
    lenient = {}
    for name, schema in properties.items():
        lenient[name] = schema
        if name not in required:
            lenient[name] = {**schema, "nullable": True}
            if "enum" in schema:
                lenient[name]["enum"] = [*schema["enum"], None]
    return object_of(lenient, *required, closed=True)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a fixed path beyond its being there."""

    scope: str
    answers: Mapping[int, dict[str, Any]]
    parameters: tuple[Schema, ...] = ()
    request: dict[str, Any] | None = None
    refusals: tuple[int, ...] = field(default=())


Paths: TypeAlias = Mapping[tuple[str, str], Known]  # by method and path below /api/v1

PAGING = (
    parameter("page", {"type": "integer", "minimum": 1, "default": 1}, "The number of the page."),
    parameter(
        "pageSize",
        {"type": "integer", "minimum": 1, "maximum": 1000, "default": 20},
        "Items on a page.",
    ),
)

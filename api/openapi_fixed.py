"""The fixed paths of the platform, as OpenAPI describes them: each area says what it knows of its own."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from api import (
    openapi_connectors,
    openapi_entities,
    openapi_exports,
    openapi_imports,
    openapi_keys,
    openapi_syncs,
    openapi_webhooks,
)
from api.openapi_known import TEXT, Known, Paths
from api.openapi_parts import answer, in_path, operation, parameter
from api.openapi_schemas import Schema


@dataclass(frozen=True, slots=True)
class Fixed:
    """A route of the application: its path below /api/v1, method, and what its docstring says."""

    path: str
    method: str
    name: str
    summary: str


_VERSION = parameter(
    "version",
    {"type": "string", "enum": ["3.0", "3.0.3", "3.1", "3.1.0"]},
    "The form to answer in.",
)
_ENTITY = parameter(
    "entity",
    {"type": "array", "items": {"type": "string"}, "maxItems": 100},
    "Only the paths and schemas of these entities, and the schemas that they refer to; commas "
    "between names.",
    style="form",
    explode=False,
)
_DOCUMENT: Paths = {
    ("GET", "/openapi.json"): Known(
        "read", {200: answer("This document.", {"type": "object"})}, (_VERSION, _ENTITY)
    ),
}
# A new area of fixed paths is added here.
_AREAS = (
    openapi_entities,
    openapi_imports,
    openapi_exports,
    openapi_keys,
    openapi_webhooks,
    openapi_connectors,
    openapi_syncs,
)
_KNOWN: Paths = {
    key: known
    for paths in (_DOCUMENT, *(area.PATHS for area in _AREAS))
    for key, known in paths.items()
}
SCHEMAS: dict[str, Schema] = {
    name: schema for area in _AREAS for name, schema in area.SCHEMAS.items()
}
_PATH_WORD = re.compile(r"\{(\w+)\}")


def paths(routes: Iterable[Fixed]) -> dict[str, dict[str, Any]]:
    """Every fixed path the application answers; of one unknown here, that it is there."""
    found: dict[str, dict[str, Any]] = {}
    for route in routes:
        known = _KNOWN.get((route.method, route.path)) or Known(
            "read" if route.method == "GET" else "write", {200: answer("Done.", {"type": "object"})}
        )
        in_order = [
            in_path(word, f"Which {word.removesuffix('_id').replace('_', ' ')}.", TEXT)
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

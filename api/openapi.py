"""A tenant's OpenAPI document: a pure function of its catalog and of what the server answers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api import openapi_answers, openapi_fixed, openapi_parts, openapi_records, openapi_schemas
from api.openapi_fixed import Fixed
from hubblewave_pipelines import __version__
from hubblewave_pipelines.core.entity import Catalog, Json

VERSIONS: Mapping[str, str] = {"3.0": "3.0.3", "3.0.3": "3.0.3", "3.1": "3.1.0", "3.1.0": "3.1.0"}
_DESCRIPTION = """Records of your entities, and the paths that define, import and secure them.

Every refusal is `application/problem+json` with a stable `code`. A definition that changes changes
this document with it; `info.version` names the platform, `x-catalog-version` your definitions.
"""


@dataclass(frozen=True, slots=True)
class Served:
    """What the application answers below /api/v1: fixed routes, and for the records of every
    entity, by what follows its plural, each method and whether it writes."""

    fixed: Sequence[Fixed]
    records: Mapping[str, Mapping[str, bool]]


def document(
    catalog: Catalog, served: Served, *, server: str, base: str, version: str = "3.0.3"
) -> dict[str, Any]:
    """The document of one tenant in the form of OpenAPI 3.0.3, or of 3.1.0 when asked.

    `server` is where the paths are rooted, `base` where OAuth is offered.
    """
    paths: dict[str, Any] = openapi_fixed.paths(served.fixed)
    schemas: dict[str, Any] = {**openapi_fixed.SCHEMAS, **openapi_answers.SCHEMAS}
    tags = [{"name": "Platform", "description": "Definitions, imports and API keys."}]
    for entity in sorted(catalog, key=lambda found: found.name.lower()):
        paths.update(openapi_records.paths(entity, catalog, served.records))
        schemas.update(openapi_schemas.components(entity, catalog))
        tags.append({"name": entity.name, "description": entity.description or entity.plural})
    components = openapi_parts.components(base)
    for kind in ("parameters", "responses"):
        used = set(_references(paths, kind))
        components[kind] = {k: v for k, v in components[kind].items() if k in used}
    components["schemas"] = {**components["schemas"], **schemas}
    found = {
        "openapi": version,
        "info": {
            "title": "HubbleWave API",
            "version": __version__,
            "description": _DESCRIPTION,
            "contact": {"name": "The operator of this platform"},
            "x-catalog-version": catalog.version,
        },
        "servers": [{"url": server}],
        "tags": tags,
        "paths": paths,
        "components": components,
        "security": [{"ApiKeyAuth": []}, {"OAuth2": ["read", "write"]}],
    }
    return found if version.startswith("3.0") else modern(found)


def _references(paths: Mapping[str, Any], kind: str) -> Iterator[str]:
    """Names of the shared parameters or responses that the operations of these paths use."""
    for operation in (operation for item in paths.values() for operation in item.values()):
        parts = operation.get(kind, ())
        for part in parts.values() if isinstance(parts, dict) else parts:
            if "$ref" in part:
                yield part["$ref"].rpartition("/")[2]


def modern(part: Json) -> Json:
    """The same in the words of 3.1, where null is a type like others."""
    if isinstance(part, list):
        return [modern(item) for item in part]
    if not isinstance(part, dict):
        return part
    if part == openapi_schemas.NOTHING:
        return {"type": "null"}
    found = {name: modern(item) for name, item in part.items()}
    if found.pop("nullable", False) is not True:
        return found
    return {**found, "type": [found["type"], "null"]}

"""A tenant's OpenAPI document: a pure function of its catalog and of what the server answers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from api import openapi_answers, openapi_fixed, openapi_parts, openapi_records, openapi_schemas
from api.openapi_fixed import Fixed
from hubblewave_pipelines import __version__
from hubblewave_pipelines.core.entity import Catalog, Entity, Json

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
    catalog: Catalog,
    served: Served,
    *,
    server: str,
    base: str,
    version: str = "3.0.3",
    only: frozenset[str] | None = None,
) -> Iterator[bytes]:
    """The document of one tenant in the form of OpenAPI 3.0.3, or of 3.1.0 when asked: JSON, piece
    by piece, since that of many entities is large.

    `server` is where the paths are rooted, `base` where OAuth is offered. With `only`, names of
    entities: their paths and schemas and what these refer to; the schemas of entities beyond are open.
    """
    chosen = sorted(
        (entity for entity in catalog if only is None or entity.name in only),
        key=lambda found: found.name.lower(),
    )
    form = _Form(version)
    tags = [
        {"name": entity.name, "description": entity.description or entity.plural}
        for entity in chosen
    ]
    if only is None:
        tags.insert(0, {"name": "Platform", "description": "Definitions, imports and API keys."})
    info = {
        "title": "HubbleWave API",
        "version": __version__,
        "description": _DESCRIPTION,
        "contact": {"name": "The operator of this platform"},
        "x-catalog-version": catalog.version,
    }
    head = {"openapi": version, "info": info, "servers": [{"url": server}], "tags": tags}
    head["security"] = [{"ApiKeyAuth": []}, {"OAuth2": ["read", "write"]}]
    yield form.open(head) + b',"paths":{'
    first = {} if only is not None else openapi_fixed.paths(served.fixed)
    shared = openapi_parts.components(base)
    used: dict[str, set[str]] = {"parameters": set(), "responses": set()}
    written = False
    for paths in (
        first,
        *(dict(openapi_records.paths(e, catalog, served.records)) for e in chosen),
    ):
        for kind, names in used.items():
            names.update(_references(paths, kind))
        if paths:
            yield form.members(paths, more=written)
            written = True
    for kind, names in used.items():
        shared[kind] = {name: part for name, part in shared[kind].items() if name in names}
    schemas = {**shared.pop("schemas"), **openapi_fixed.SCHEMAS, **openapi_answers.SCHEMAS}
    yield b'},"components":' + form.open(shared) + b',"schemas":{'
    if only is None:
        yield form.members(schemas)
        for entity in chosen:
            yield form.members(openapi_schemas.components(entity, catalog), more=True)
    else:
        yield form.members(
            _within(chosen, catalog, schemas, [shared, *_paths_of(chosen, catalog, served)])
        )
    yield b"}}}"


class _Form:
    """How parts are written in the words of one version."""

    def __init__(self, version: str) -> None:
        self._old = version.startswith("3.0")

    def open(self, part: dict[str, Any]) -> bytes:
        """An object to which members can be added."""
        return msgspec.json.encode(part if self._old else modern(part))[:-1]

    def members(self, part: dict[str, Any], *, more: bool = False) -> bytes:
        return (b"," if more else b"") + self.open(part)[1:]


def _paths_of(entities: Sequence[Entity], catalog: Catalog, served: Served) -> Iterator[Json]:
    for entity in entities:
        yield dict(openapi_records.paths(entity, catalog, served.records))


def _within(
    chosen: Sequence[Entity], catalog: Catalog, fixed: Mapping[str, Any], parts: Sequence[Json]
) -> dict[str, Any]:
    """The schemas of the chosen entities, and those that they and the parts refer to: whole for the
    entities next to them, open for those beyond."""
    found: dict[str, Any] = {}
    for entity in chosen:
        found |= openapi_schemas.components(entity, catalog)
    referred = {name for part in (*parts, found) for name in _schemas_named(part)} - found.keys()
    for beyond in (False, True):
        near: dict[str, Any] = {}
        for name in sorted(referred):
            entity_name = name.partition("_")[0]
            owner = None if name in fixed else catalog.named(entity_name)
            if owner is None:
                near |= _closed(name, fixed)
            elif beyond:
                near[name] = {
                    "description": f"Ask for the entity {entity_name}, too.",
                    "type": "object",
                }
            else:
                near[name] = openapi_schemas.components(owner, catalog)[name]
        found |= near
        referred = set(_schemas_named(near)) - found.keys()
    return found


def _closed(name: str, fixed: Mapping[str, Any]) -> dict[str, Any]:
    """A schema of the platform with all that it refers to."""
    found: dict[str, Any] = {}
    waiting = [name]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found[one] = fixed[one]
            waiting += _schemas_named(fixed[one])
    return found


def _schemas_named(part: Json) -> Iterator[str]:
    if isinstance(part, list):
        for item in part:
            yield from _schemas_named(item)
    elif isinstance(part, dict):
        name = part.get("$ref")
        if isinstance(name, str) and name.startswith("#/components/schemas/"):
            yield name.rpartition("/")[2]
        for item in part.values():
            yield from _schemas_named(item)


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

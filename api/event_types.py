"""/api/v1/event-types: every type of event, with the JSON Schema and an example of its payload."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.body import JsonAnswer
from api.context import Context, Reading
from api.openapi import modern
from api.openapi_schemas import components, example
from hubblewave_pipelines.core.entity import Catalog, Entity
from hubblewave_pipelines.core.errors import NotFound
from hubblewave_pipelines.core.event_types import FIXED, VERBS, envelope, type_of
from hubblewave_pipelines.core.parameters import parse_paging

router = APIRouter(prefix="/event-types")

_SAID = {
    "created": "A {} was made.",
    "updated": "A {} was changed; `data` is the record as it was then.",
    "deleted": "A {} was deleted; `data` is its last version.",
}


def _payload(name: str, data: Any) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a whole body."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "event": {"const": name},
            "data": data,
            "timestamp": {"type": "string", "format": "date-time"},
            "webhookId": {"type": "string", "format": "uuid"},
        },
        "required": ["event", "data", "timestamp", "webhookId"],
    }


def _of_entity(entity: Entity, catalog: Catalog, verb: str) -> dict[str, Any]:
    name = type_of(entity, verb)
    schema = modern(components(entity, catalog)[entity.name])
    at = "2026-11-24T09:30:00.000000Z"
    sample = {
        "id": "0198c0de-0000-7000-8000-000000000002",
        "createdAt": at,
        "updatedAt": at,
        "version": 1 if verb == "created" else 2,
    }
    absent = dict.fromkeys(entity.columns, None)
    data = {**absent, **(example(entity) or {}), **sample}
    return {
        "name": name,
        "description": _SAID[verb].format(entity.name),
        "entity": entity.name,
        "schemaVersion": 1,
        "schema": _payload(name, schema),
        "example": envelope(name, data),
    }


def _catalogue(catalog: Catalog) -> list[dict[str, Any]]:
    found = [_of_entity(entity, catalog, verb) for entity in catalog for verb in VERBS]
    found += [
        {
            "name": event.name,
            "description": event.description,
            "entity": None,
            "schemaVersion": 1,
            "schema": _payload(event.name, event.schema),
            "example": envelope(event.name, event.example),
        }
        for event in FIXED
    ]
    return found


@router.get("")
async def list_event_types(context: Reading, request: Request) -> Response:
    """The catalogue of this tenant: three types for each entity, and those of the platform."""
    paging = parse_paging(request.query_params.multi_items())
    found = _catalogue(context.catalog)
    shown = found[paging.offset : paging.offset + paging.size]
    return JsonAnswer({"items": shown, "pageInfo": paging.page_info(len(found))})


@router.get("/{name}")
async def get_event_type(name: str, context: Reading) -> Response:
    """One type of event."""
    return JsonAnswer(_find(context, name))


def _find(context: Context, name: str) -> dict[str, Any]:
    for event in _catalogue(context.catalog):
        if event["name"] == name.lower():
            return event
    raise NotFound(f"There is no event type {name[:60]}.")

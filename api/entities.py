"""/api/v1/entities: the tenant's entity definitions, and what a change of one would do."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from api.body import JsonAnswer, read_json
from api.conditions import etag, is_known, required_tags
from api.context import Caller, caller, platform
from hubblewave_pipelines.core.definition import as_json, tag_of
from hubblewave_pipelines.core.entity import Catalog, Entity
from hubblewave_pipelines.core.errors import NotFound
from hubblewave_pipelines.core.parameters import parse_flags, parse_paging
from hubblewave_pipelines.core.reading import suggestion
from hubblewave_pipelines.storage.ddl import Changed, Step, Wish, change_definition, preview
from hubblewave_pipelines.storage.refusals import refusing

router = APIRouter(prefix="/entities")

Reader = Annotated[Caller, Depends(caller("read"))]
Admin = Annotated[Caller, Depends(caller("admin"))]


def _plan(steps: Sequence[Step]) -> Response:
    return JsonAnswer(
        {
            "steps": [step.as_json() for step in steps],
            "breaking": any(step.breaking for step in steps),
            "rewrite": any(step.rewrite for step in steps),
            "destructive": any(step.destructive for step in steps),
        }
    )


def _find(catalog: Catalog, name: str) -> Entity:
    entity = catalog.named(name)
    if entity is None:
        hint = suggestion(name[:60], [known.name for known in catalog])
        raise NotFound(f"There is no entity {name[:60]}{hint}.")
    return entity


@router.get("")
async def list_entities(caller: Reader, request: Request) -> Response:
    """The definitions in order of their names."""
    paging = parse_paging(request.query_params.multi_items())
    entities = sorted(caller.catalog, key=lambda entity: entity.name.lower())
    shown = entities[paging.offset : paging.offset + paging.size]
    return JsonAnswer(
        {
            "items": [as_json(entity) for entity in shown],
            "pageInfo": paging.page_info(len(entities)),
        }
    )


@router.get("/{name}")
async def get_entity(name: str, caller: Reader, request: Request) -> Response:
    """One definition, in the form that PUT takes back."""
    entity = _find(caller.catalog, name)
    tag = tag_of(entity)
    if is_known(request.headers, tag):
        return Response(status_code=304, headers={"ETag": etag(tag)})
    return JsonAnswer(as_json(entity), 200, {"ETag": etag(tag)})


async def _planned(request: Request, caller: Caller, wish: Wish) -> Response:
    """What a change would do; found out in a thread."""
    owner, tenant_id = platform(request).owner, caller.principal.tenant_id
    with refusing():
        return _plan(await to_thread.run_sync(preview, owner, tenant_id, wish))


async def _changed(request: Request, caller: Caller, wish: Wish) -> Changed:
    """Do it, in a thread. The answer is one of the new catalog."""
    owner, principal = platform(request).owner, caller.principal
    change = partial(change_definition, requested_by=principal.actor_id)
    with refusing():
        changed = await to_thread.run_sync(change, owner, principal.tenant_id, wish)
    request.state.catalog_version = changed.catalog.version
    return changed


def _defined(changed: Changed, status: int = 200, **headers: str) -> Response:
    """The new definition, with what may break clients that were written for the old one."""
    entity = changed.entity
    if entity is None:
        raise AssertionError("only a removal leaves no entity")
    body = as_json(entity)
    warnings = [f"breaking: {step.description}" for step in changed.steps if step.breaking]
    if warnings:
        body["warnings"] = warnings
    return JsonAnswer(body, status, {"ETag": etag(tag_of(entity)), **headers})


@router.post("")
async def create_entity(caller: Admin, request: Request) -> Response:
    """Define an entity; its records are served from the next request on."""
    flags = parse_flags(request.query_params.multi_items(), "dryRun")
    wish = Wish(None, await read_json(request))
    if flags["dryRun"]:
        return await _planned(request, caller, wish)
    changed = await _changed(request, caller, wish)
    name = "" if changed.entity is None else changed.entity.name
    return _defined(changed, 201, Location=f"{request.url.path}/{name}")


@router.put("/{name}")
async def replace_entity(name: str, caller: Admin, request: Request) -> Response:
    """Replace a definition. Members keep their identity by id, or by name where id is left out;
    another name for the same id is a rename, a member that is missing is removed."""
    flags = parse_flags(request.query_params.multi_items(), "dryRun", "force")
    _find(caller.catalog, name)
    tags = required_tags(request.headers)
    wish = Wish(name, await read_json(request), force=flags["force"], tags=tags)
    if flags["dryRun"]:
        return await _planned(request, caller, wish)
    return _defined(await _changed(request, caller, wish))


@router.delete("/{name}")
async def delete_entity(name: str, caller: Admin, request: Request) -> Response:
    """Remove an entity; with force=true even when it holds records, which are lost."""
    flags = parse_flags(request.query_params.multi_items(), "dryRun", "force")
    _find(caller.catalog, name)
    tags = required_tags(request.headers)
    wish = Wish(name, remove=True, force=flags["force"], tags=tags)
    if flags["dryRun"]:
        return await _planned(request, caller, wish)
    await _changed(request, caller, wish)
    return Response(status_code=204)

"""/api/v1/entities: the tenant's entity definitions, and what a change of one would do."""

from collections.abc import Sequence
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from api.body import JsonAnswer, read_json
from api.context import Caller, caller, platform
from hubblewave_pipelines.core.definition import as_json
from hubblewave_pipelines.core.entity import Catalog, Entity
from hubblewave_pipelines.core.errors import Fault, MalformedRequest, NotFound
from hubblewave_pipelines.core.parameters import parse_paging
from hubblewave_pipelines.core.reading import suggestion
from hubblewave_pipelines.storage.ddl import Step, Wish, change_definition, preview
from hubblewave_pipelines.storage.refusals import refusing

router = APIRouter(prefix="/entities")

Reader = Annotated[Caller, Depends(caller("read"))]
Admin = Annotated[Caller, Depends(caller("admin"))]

_FLAGS = {"true": True, "false": False}


def _flags(request: Request, *known: str) -> dict[str, bool]:
    """The true-or-false parameters of a change. Raises MalformedRequest for any other."""
    flags = dict.fromkeys(known, False)
    faults = []
    for name, value in request.query_params.multi_items():
        if name not in known:
            detail = f"there is no parameter {name[:60]} here{suggestion(name[:60], known)}"
            faults.append(Fault("unknown", detail, parameter=name[:60]))
        elif value not in _FLAGS:
            faults.append(Fault("type", f"{name} must be true or false", parameter=name))
        else:
            flags[name] = _FLAGS[value]
    if faults:
        raise MalformedRequest("The parameters cannot be read.", faults=faults)
    return flags


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
async def get_entity(name: str, caller: Reader) -> Response:
    """One definition, in the form that PUT takes back."""
    return JsonAnswer(as_json(_find(caller.catalog, name)))


async def _change(
    request: Request, caller: Caller, wish: Wish, *, dry_run: bool
) -> tuple[Entity | None, list[Step]]:
    """Do it (the entity, unless removed), or for a dry run say how (the steps); in a thread."""
    owner, tenant_id = platform(request).owner, caller.principal.tenant_id

    def work() -> tuple[Entity | None, list[Step]]:
        if dry_run:
            return None, preview(owner, tenant_id, wish)
        actor = caller.principal.actor_id
        _, entity = change_definition(owner, tenant_id, wish, requested_by=actor)
        return entity, []

    with refusing():
        return await to_thread.run_sync(work)


@router.post("")
async def create_entity(caller: Admin, request: Request) -> Response:
    """Define an entity; its records are served from the next request on."""
    flags = _flags(request, "dryRun")
    wish = Wish(None, await read_json(request))
    entity, steps = await _change(request, caller, wish, dry_run=flags["dryRun"])
    if entity is None:
        return _plan(steps)
    return JsonAnswer(as_json(entity), 201, {"Location": f"{request.url.path}/{entity.name}"})


@router.put("/{name}")
async def replace_entity(name: str, caller: Admin, request: Request) -> Response:
    """Replace a definition. Members keep their identity by id, or by name where id is left out;
    another name for the same id is a rename, a member that is missing is removed."""
    flags = _flags(request, "dryRun", "force")
    _find(caller.catalog, name)
    wish = Wish(name, await read_json(request), force=flags["force"])
    entity, steps = await _change(request, caller, wish, dry_run=flags["dryRun"])
    return _plan(steps) if entity is None else JsonAnswer(as_json(entity))


@router.delete("/{name}")
async def delete_entity(name: str, caller: Admin, request: Request) -> Response:
    """Remove an entity; with force=true even when it holds records, which are lost."""
    flags = _flags(request, "dryRun", "force")
    _find(caller.catalog, name)
    wish = Wish(name, remove=True, force=flags["force"])
    _, steps = await _change(request, caller, wish, dry_run=flags["dryRun"])
    return _plan(steps) if flags["dryRun"] else Response(status_code=204)

"""/api/v1/import-watches: directories and bucket prefixes whose files are imported as they arrive."""

from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.body import JsonAnswer, read_json
from api.context import Administering, Context, Reading, platform
from hubblewave_pipelines.core.entity import Catalog, Entity, Json
from hubblewave_pipelines.core.errors import Conflict, Invalid, MalformedRequest, NotFound
from hubblewave_pipelines.core.import_options import parse_options
from hubblewave_pipelines.core.parameters import parse_paging, refuse_parameters
from hubblewave_pipelines.core.reading import Reading as Faults
from hubblewave_pipelines.core.reading import suggestion
from hubblewave_pipelines.storage import watches
from hubblewave_pipelines.storage.watches import Watch, WatchedFile
from hubblewave_pipelines.transfer.locations import NotAllowed, allowed

router = APIRouter(prefix="/import-watches")

_BODY = ("entity", "url", "pattern", "mapping", "options")
_LONGEST = 1_000
_FILES = 100


def _watch_json(watch: Watch) -> dict[str, Any]:
    return {
        "id": watch.id,
        "entity": watch.entity_name,
        "url": watch.url,
        "pattern": watch.pattern,
        "mapping": watch.mapping,
        "options": watch.options,
        "lastScanAt": watch.last_scan_at,
        "lastError": watch.last_error,
        "createdAt": watch.created_at,
    }


def _file_json(file: WatchedFile) -> dict[str, Any]:
    return {
        "path": file.path,
        "size": file.size,
        "seenAt": file.seen_at,
        "importId": file.import_id,
        "error": file.error,
    }


def _entity(body: dict[str, Json], catalog: Catalog, faults: Faults) -> Entity | None:
    name = faults.text(body, "entity", "#", longest=200)
    entity = None if not name else catalog.named(name) or catalog.at_path(name)
    if not name:
        faults.fault("#/entity", "required", "name the entity that the files fill")
    elif entity is None:
        hint = suggestion(name[:60], [e.name for e in catalog])
        faults.fault("#/entity", "unknown", f'there is no entity "{name[:60]}"{hint}')
    return entity


def _location(body: dict[str, Json], context: Context, request: Request, faults: Faults) -> str:
    url = faults.text(body, "url", "#", longest=_LONGEST)
    if not url:
        faults.fault("#/url", "required", "say where: file:///folder/ or s3://bucket/folder/")
        return ""
    try:
        settings = platform(request).settings
        return allowed(settings, context.principal.tenant_slug, url)
    except NotAllowed as error:
        faults.fault("#/url", "location", str(error))
        return ""


@router.post("")
async def create_watch(context: Administering, request: Request) -> Response:
    """Import every file that arrives at a location, once; `mapping` and `options` as imports take
    them.
    """
    refuse_parameters(request.query_params.multi_items())
    body = await read_json(request)
    if not isinstance(body, dict):
        raise MalformedRequest("The body must be a JSON object.")
    faults = Faults()
    faults.keys(body, _BODY, "#")
    entity = _entity(body, context.catalog, faults)
    url = _location(body, context, request, faults)
    pattern = faults.text(body, "pattern", "#", longest=200) or "*"
    mapping = body.get("mapping")
    if mapping is not None and not isinstance(mapping, list):
        faults.fault("#/mapping", "type", "mapping must be a list")
    parse_options(body.get("options"), faults)
    if faults.faults or entity is None:
        raise Invalid("The watch cannot be made.", faults=faults.faults)
    made = await context.tx.one(
        watches.insert_watch(
            context.principal.tenant_id,
            entity_id=entity.id,
            entity_name=entity.name,
            url=url,
            pattern=pattern,
            mapping=mapping,
            options=body.get("options") or {},
            created_by=context.principal.actor_id,
        )
    )
    if made is None:
        raise Conflict("The watch was not stored; ask again.")
    return JsonAnswer(_watch_json(made), 201, {"Location": f"{request.url.path}/{made.id}"})


@router.get("")
async def list_watches(context: Reading, request: Request) -> Response:
    """The tenant's watches, newest first."""
    paging = parse_paging(request.query_params.multi_items())
    tenant_id = context.principal.tenant_id
    count = await context.tx.one(watches.count_watches(tenant_id))
    found = await context.tx.all(
        watches.watches_of(tenant_id, limit=paging.size, offset=paging.offset)
    )
    return JsonAnswer(
        {"items": [_watch_json(one) for one in found], "pageInfo": paging.page_info(count or 0)}
    )


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise NotFound(f"There is no watch {text[:60]}.") from error


@router.get("/{watch_id}")
async def get_watch(watch_id: str, context: Reading) -> Response:
    """One watch with the files it saw last, and which import each became."""
    tenant_id = context.principal.tenant_id
    found = await context.tx.one(watches.watch_by_id(tenant_id, _id(watch_id)))
    if found is None:
        raise NotFound(f"There is no watch {watch_id[:60]}.")
    files = await context.tx.all(watches.files_of(tenant_id, found.id, limit=_FILES))
    return JsonAnswer({**_watch_json(found), "files": [_file_json(file) for file in files]})


@router.delete("/{watch_id}")
async def delete_watch(watch_id: str, context: Administering) -> Response:
    """Watch no more. Imports that were asked for go on."""
    removed = await context.tx.one(watches.remove_watch(context.principal.tenant_id, _id(watch_id)))
    if removed is None:
        raise NotFound(f"There is no watch {watch_id[:60]}.")
    return Response(status_code=204)

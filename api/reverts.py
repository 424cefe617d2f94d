"""/api/v1/imports/{id}/revert and /kept: take an import back, and see what was left as it is."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.body import JsonAnswer
from api.context import Platform, Reading, platform
from api.import_form import Uploading
from api.imports_shown import find_import, import_id_of
from api.launching import launch
from hubblewave_pipelines.core.asset_keys import revert_key
from hubblewave_pipelines.core.errors import Conflict, NotFound
from hubblewave_pipelines.core.parameters import parse_paging, refuse_parameters
from hubblewave_pipelines.storage import imports, reverts, work
from hubblewave_pipelines.storage.refusals import refusing
from hubblewave_pipelines.storage.reverts import Revert

router = APIRouter(prefix="/imports")


def revert_json(revert: Revert, held: Platform) -> dict[str, Any]:
    return {
        "id": revert.id,
        "importId": revert.import_id,
        "status": revert.status,
        "removedRecords": revert.removed,
        "restoredRecords": revert.restored,
        "keptRecords": revert.kept,
        "error": revert.error,
        "runUrl": None if revert.run_id is None else held.dagster.run_url(revert.run_id),
        "createdAt": revert.created_at,
        "completedAt": revert.completed_at,
    }


@router.post("/{import_id}/revert")
async def revert_import(import_id: str, found: Uploading, request: Request) -> Response:
    """Take an import back: records it made are removed, records it changed are as before; what
    others wrote since is kept and listed."""
    refuse_parameters(request.query_params.multi_items())
    held, principal = platform(request), found.principal
    with refusing():
        async with held.database.transaction(principal.tenant_id) as tx:
            # Locked, so that nobody asks for a retry meanwhile.
            job = await tx.one(
                imports.job_by_id(principal.tenant_id, import_id_of(import_id), lock=True)
            )
            if job is None:
                raise NotFound(f"There is no import {import_id[:60]}.")
            if job.status in imports.OPEN:
                raise Conflict("The import is still at work: cancel it first.")
            entity = next((e for e in found.catalog if e.id == job.entity_id), None)
            if entity is None:
                raise Conflict(f"The entity {job.entity_name} is gone.")
            asked_for = reverts.insert_revert(principal.tenant_id, job.id, principal.actor_id)
            revert = await tx.one(asked_for)
            if revert is None:
                raise Conflict("The import has been taken back already, or is being taken back.")
            key = revert_key(principal.tenant_slug, entity.slug)
            asked = await tx.one(
                work.insert_request(
                    principal.tenant_id, "revert", revert.id, key, principal.actor_id
                )
            )
        if asked is not None:
            await launch(held, asked)
    where = str(request.url.path)
    return JsonAnswer(revert_json(revert, held), 202, {"Location": where})


@router.get("/{import_id}/revert")
async def get_revert(import_id: str, context: Reading, request: Request) -> Response:
    """How the taking back of an import stands."""
    refuse_parameters(request.query_params.multi_items())
    job = await find_import(context, import_id)
    revert = await context.tx.one(reverts.revert_of(job.tenant_id, job.id))
    if revert is None:
        raise NotFound("Nobody has asked to take this import back.")
    return JsonAnswer(revert_json(revert, platform(request)))


@router.get("/{import_id}/kept")
async def list_kept(import_id: str, context: Reading, request: Request) -> Response:
    """Records that the import wrote and the revert left as they are, and why."""
    paging = parse_paging(request.query_params.multi_items())
    job = await find_import(context, import_id)
    count = await context.tx.one(reverts.count_kept(job.tenant_id, job.id))
    kept = await context.tx.all(
        reverts.kept_records(job.tenant_id, job.id, limit=paging.size, offset=paging.offset)
    )
    items = [{"recordId": each.record_id, "reason": each.reason} for each in kept]
    return JsonAnswer({"items": items, "pageInfo": paging.page_info(count or 0)})

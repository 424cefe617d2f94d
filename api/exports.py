"""/api/v1/exports: ask for a file of an entity's records, once or on a schedule; follow, cancel and retry it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from api.body import JsonAnswer, read_json
from api.context import Caller, Context, Reading, Writing, caller, platform
from api.exports_shown import export_id_of, export_json, find_export
from api.idempotency import fingerprint, idempotency_key, once
from api.launching import launch
from hubblewave_pipelines.core.asset_keys import export_key
from hubblewave_pipelines.core.entity import Entity
from hubblewave_pipelines.core.errors import Conflict, Fault, Invalid
from hubblewave_pipelines.core.export_request import ExportRequest, parse_export
from hubblewave_pipelines.core.given import Given
from hubblewave_pipelines.core.parameters import parse_paging, refuse_parameters
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage import exports, work
from hubblewave_pipelines.storage.exports import ExportJob, NewExport
from hubblewave_pipelines.storage.refusals import refusing
from hubblewave_pipelines.storage.work import WorkRequest
from hubblewave_pipelines.transfer.locations import NotAllowed, allowed

router = APIRouter(prefix="/exports")

_STATUSES = (*exports.OPEN, *exports.ENDED, "scheduled")
Asking = Annotated[Caller, Depends(caller("write"))]


def _destination(wanted: ExportRequest, found: Caller, settings: Settings) -> str | None:
    """Where the file goes beside being there to download. Raises Invalid."""
    if wanted.destination is None:
        return None
    try:
        return allowed(settings, found.principal.tenant_slug, wanted.destination)
    except NotAllowed as error:
        fault = Fault("location", str(error), "#/destination")
        raise Invalid("The export cannot be accepted.", faults=[fault]) from error


async def _accept(
    context: Context, wanted: ExportRequest, destination: str | None
) -> tuple[ExportJob, WorkRequest | None]:
    """Write the job and ask for its run; a scheduled one runs when it is due."""
    principal, entity, schedule = context.principal, wanted.extract.entity, wanted.schedule
    job = await context.tx.one(
        exports.insert_job(
            NewExport(
                tenant_id=principal.tenant_id,
                entity_id=entity.id,
                entity_name=entity.name,
                query=dict(wanted.question),
                format=wanted.format.value,
                options=wanted.options.as_json(),
                destination=destination,
                created_by=principal.actor_id,
                schedule=None if schedule is None else schedule.cron,
                timezone=None if schedule is None else schedule.timezone,
                next_run_at=None if schedule is None else schedule.next_after(datetime.now(UTC)),
            )
        )
    )
    if job is None:
        raise Conflict("The export was not stored; ask again.")
    if schedule is not None:
        return job, None
    return job, await _ask_run(context, job, entity)


async def _ask_run(context: Context, job: ExportJob, entity: Entity) -> WorkRequest | None:
    principal = context.principal
    key = export_key(principal.tenant_slug, entity.slug, job.schedule_id)
    return await context.tx.one(
        work.insert_request(principal.tenant_id, "export", job.id, key, principal.actor_id)
    )


@router.post("")
async def create_export(found: Asking, request: Request) -> Response:
    """Ask for a file of an entity's records; with `schedule`, for one whenever it is due.

    Under an Idempotency-Key that was used for the same body before, answers with that export.
    """
    refuse_parameters(request.query_params.multi_items())
    held = platform(request)
    key = idempotency_key(request.headers)
    body = await read_json(request)
    asked: WorkRequest | None = None

    async def accept() -> Response:
        nonlocal asked
        wanted = parse_export(body, catalog=found.catalog)
        job, asked = await _accept(context, wanted, _destination(wanted, found, held.settings))
        where = f"{request.url.path}/{job.id}"
        return JsonAnswer(export_json(job, held), 202, {"Location": where})

    with refusing():
        async with held.database.transaction(found.principal.tenant_id) as tx:
            context = Context(tx, found.principal, found.catalog, found.request_id)
            if key is None:
                answer = await accept()
            else:
                answer = await once(context, key, await fingerprint(request), accept)
        if asked is not None:
            await launch(held, asked)
    return answer


def _schedule_id(found: Given) -> UUID | None:
    text = found.text("scheduleId")
    try:
        return None if text is None else UUID(text)
    except ValueError:
        found.fault("scheduleId", "format", "must be the id of an export")
        return None


@router.get("")
async def list_exports(context: Reading, request: Request) -> Response:
    """The tenant's exports, newest first; `status` or `scheduleId` narrow the list."""
    given = request.query_params.multi_items()
    paging = parse_paging(given, "status", "scheduleId")
    found = Given.of_address(given)
    status, schedule_id = found.text("status"), _schedule_id(found)
    if status is not None and status not in _STATUSES:
        found.fault("status", "enum", f"must be one of {', '.join(_STATUSES)}")
    found.done()
    tenant_id = context.principal.tenant_id
    count = await context.tx.one(
        exports.count_jobs(tenant_id, schedule_id=schedule_id, status=status)
    )
    jobs = await context.tx.all(
        exports.jobs_of(
            tenant_id,
            limit=paging.size,
            offset=paging.offset,
            schedule_id=schedule_id,
            status=status,
        )
    )
    held = platform(request)
    return JsonAnswer(
        {
            "items": [export_json(job, held) for job in jobs],
            "pageInfo": paging.page_info(count or 0),
        }
    )


@router.get("/{export_id}")
async def get_export(export_id: str, context: Reading, request: Request) -> Response:
    """One export: status, progress and, once it is complete, its file and manifest."""
    return JsonAnswer(export_json(await find_export(context, export_id), platform(request)))


@router.post("/{export_id}/cancel")
async def cancel_export(export_id: str, context: Writing, request: Request) -> Response:
    """Stop an export: at once when it has not begun, else within a second; or end a schedule."""
    tenant_id = context.principal.tenant_id
    job = await context.tx.one(exports.request_cancel(tenant_id, export_id_of(export_id)))
    if job is None:
        settled = await find_export(context, export_id)
        raise Conflict(f"An export that is {settled.status} cannot be cancelled.")
    await context.tx.all(work.cancel_unclaimed(tenant_id, job.id))
    return JsonAnswer(export_json(await find_export(context, export_id), platform(request)), 202)


@router.post("/{export_id}/retry")
async def retry_export(export_id: str, found: Asking, request: Request) -> Response:
    """Write the file of a failed or cancelled export again, of the rows that are there by then."""
    held = platform(request)
    with refusing():
        async with held.database.transaction(found.principal.tenant_id) as tx:
            context = Context(tx, found.principal, found.catalog, found.request_id)
            before = await find_export(context, export_id)
            entity = next((e for e in found.catalog if e.id == before.entity_id), None)
            if entity is None:
                raise Conflict(f"The entity {before.entity_name} is gone.")
            if before.schedule is not None:
                raise Conflict("A schedule cannot be retried; make it anew.")
            job = await tx.one(exports.reopen_job(before.tenant_id, before.id))
            if job is None:
                raise Conflict(f"An export that is {before.status} cannot be retried.")
            asked = await _ask_run(context, job, entity)
        if asked is not None:
            await launch(held, asked)
    where = request.url.path.removesuffix("/retry")
    return JsonAnswer(export_json(job, held), 202, {"Location": where})


@router.delete("/{export_id}")
async def delete_export(export_id: str, context: Writing) -> Response:
    """Forget an export that is over, and remove its file."""
    job = await context.tx.one(
        exports.remove_job(context.principal.tenant_id, export_id_of(export_id))
    )
    if job is None:
        found = await find_export(context, export_id)
        raise Conflict(f"An export that is {found.status} cannot be deleted; cancel it first.")
    if job.file_path is not None:
        Path(job.file_path).unlink(missing_ok=True)
    return Response(status_code=204)

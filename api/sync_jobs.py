"""/api/v1/sync-jobs: which stream of a connector is kept in step with which entity, and how."""

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
import psycopg
from fastapi import APIRouter, Request
from starlette.responses import Response

from api.body import JsonAnswer, read_json
from api.context import Administering, Context
from api.sync_shown import find_job, interval_json, job_json, written
from hubblewave_pipelines.core.entity import Json
from hubblewave_pipelines.core.errors import Conflict, Fault, Invalid
from hubblewave_pipelines.core.given import Given
from hubblewave_pipelines.core.parameters import parse_paging, refuse_parameters
from hubblewave_pipelines.core.reading import Reading
from hubblewave_pipelines.core.schedule import Schedule
from hubblewave_pipelines.core.sync_request import parse_sync
from hubblewave_pipelines.storage import connector_asks, connectors, delivery_log, sync_jobs
from hubblewave_pipelines.storage.connectors import StoredConnector
from hubblewave_pipelines.storage.sync_jobs import NewSyncJob

router = APIRouter(prefix="/sync-jobs")

STATUSES = ("active", "paused", "error")
_FIXED = ("connector", "sourceEntity", "targetEntity")
_KNOWN_FOR = timedelta(days=30)  # a discovery this old still tells the fields for a mapping


async def _connector(context: Context, body: Json) -> StoredConnector | Fault:
    """The connector that a body names, by id or by name."""
    given = body.get("connector") if isinstance(body, dict) else None
    if not isinstance(given, str) or not given:
        return Fault("required", "connector is required: its id or its name", "#/connector")
    tenant_id = context.principal.tenant_id
    try:
        found = await context.tx.one(connectors.connector_by_id(tenant_id, UUID(given)))
    except ValueError:
        found = await context.tx.one(connectors.connector_named(tenant_id, given))
    return found or Fault("unknown", f'there is no connector "{given[:60]}"', "#/connector")


async def _header(
    context: Context, connector: StoredConnector | Fault, body: Json
) -> Sequence[str] | None:
    """The stream's fields by the last discovery of it, if there was one."""
    stream = body.get("sourceEntity") if isinstance(body, dict) else None
    if isinstance(connector, Fault) or not isinstance(stream, str):
        return None
    lately = connector_asks.found_lately(
        connector.tenant_id, connector.id, "discover", stream, _KNOWN_FOR
    )
    ask = await context.tx.one(lately)
    if ask is None or not isinstance(ask.result, dict):
        return None
    result: Any = ask.result
    return [field["name"] for field in result["streams"][0]["fields"]]


async def _parsed(context: Context, body: Json) -> tuple[StoredConnector, dict[str, Any]]:
    connector = await _connector(context, body)
    now = await context.tx.one(delivery_log.clock())
    assert now is not None
    faults = [connector] if isinstance(connector, Fault) else []
    try:
        header = await _header(context, connector, body)
        wish = parse_sync(body, context.catalog, header, now)
    except Invalid as error:
        raise Invalid(error.detail, faults=[*faults, *error.faults]) from error
    if isinstance(connector, Fault):
        raise Invalid("The sync job cannot be stored.", faults=faults)
    return connector, dict(wish.columns)


def _taken(name: str) -> Conflict:
    fault = Fault("unique", f'another sync job is called "{name[:60]}"', "#/name")
    return Conflict("The name is taken.", faults=[fault])


@router.get("")
async def list_sync_jobs(context: Administering, request: Request) -> Response:
    """The tenant's sync jobs, newest first."""
    given = request.query_params.multi_items()
    paging = parse_paging(given, "connectorId", "status")
    found = Given.of_address(given)
    connector_id = _uuid(found, "connectorId")
    status = found.text("status")
    if status is not None and status not in STATUSES:
        found.fault("status", "enum", f"must be one of {', '.join(STATUSES)}")
    found.done()
    tenant_id = context.principal.tenant_id
    total = await context.tx.one(
        sync_jobs.count_jobs(tenant_id, connector_id=connector_id, status=status)
    )
    jobs = await context.tx.all(
        sync_jobs.jobs_of(
            tenant_id,
            limit=paging.size,
            offset=paging.offset,
            connector_id=connector_id,
            status=status,
        )
    )
    items = [job_json(job) for job in jobs]
    return JsonAnswer({"items": items, "pageInfo": paging.page_info(total or 0)})


def _uuid(found: Given, name: str) -> UUID | None:
    text = found.text(name)
    try:
        return None if text is None else UUID(text)
    except ValueError:
        found.fault(name, "type", "must be a UUID")
        return None


@router.post("")
async def create_sync_job(context: Administering, request: Request) -> Response:
    """Make a sync job. It runs by its schedule, or when it is asked to (`/run`)."""
    body = await read_json(request)
    connector, columns = await _parsed(context, body)
    new = NewSyncJob(
        tenant_id=context.principal.tenant_id,
        connector_id=connector.id,
        created_by=context.principal.actor_id,
        **columns,
    )
    try:
        job = await context.tx.one(sync_jobs.insert_job(new))
    except psycopg.errors.UniqueViolation as error:
        raise _taken(new.name) from error
    assert job is not None
    return JsonAnswer(job_json(job), 201, {"Location": f"/api/v1/sync-jobs/{job.id}"})


@router.get("/{job_id:uuid}")
async def get_sync_job(job_id: UUID, context: Administering, request: Request) -> Response:
    """One sync job: what was chosen, and how far it has come."""
    refuse_parameters(request.query_params.multi_items())
    return JsonAnswer(job_json(await find_job(context, job_id)))


@router.patch("/{job_id:uuid}")
async def patch_sync_job(job_id: UUID, context: Administering, request: Request) -> Response:
    """Change what the body names (null: back to its default); connector, stream and entity stay.

    Another start date starts the job from its beginning; another mapping is applied to what is read from
    then on, and by `/reset` with both switches to everything.
    """
    before = await find_job(context, job_id, locked=True)
    body = await read_json(request)
    merged = body
    if isinstance(body, dict):
        plain = json.loads(msgspec.json.encode(written(before)))
        changed = [name for name in _FIXED if name in body and body[name] != plain[name]]
        if changed:
            faults = [
                Fault("read_only", f"{name} stays: make another job", f"#/{name}")
                for name in changed
            ]
            raise Invalid("The sync job cannot be stored.", faults=faults)
        merged = {**plain, **body}
    _, columns = await _parsed(context, merged)
    tenant_id = context.principal.tenant_id
    if before.status == "paused":
        columns["next_run_at"] = None
    if before.start_date != columns["start_date"]:
        for step in sync_jobs.reset_steps(tenant_id, before.id, state=True, cache=False):
            await context.tx.run(step)
    for fixed in ("source_entity", "entity_id", "entity_name"):
        del columns[fixed]
    try:
        job = await context.tx.one(sync_jobs.update_job(tenant_id, before.id, columns))
    except psycopg.errors.UniqueViolation as error:
        raise _taken(columns["name"]) from error
    assert job is not None
    return JsonAnswer(job_json(job))


@router.delete("/{job_id:uuid}")
async def delete_sync_job(job_id: UUID, context: Administering, request: Request) -> Response:
    """Remove a job with its runs and dead letters; the records that it brought stay."""
    refuse_parameters(request.query_params.multi_items())
    job = await find_job(context, job_id, locked=True)
    await context.tx.one(sync_jobs.remove_job(job.tenant_id, job.id))
    return Response(status_code=204)


@router.post("/{job_id:uuid}/pause")
async def pause_sync_job(job_id: UUID, context: Administering, request: Request) -> Response:
    """Run no more by schedule until `/resume`; a run that is at work goes on to its end."""
    refuse_parameters(request.query_params.multi_items())
    job = await find_job(context, job_id, locked=True)
    values = {"status": "paused", "next_run_at": None}
    return await _changed(context, job.id, values)


@router.post("/{job_id:uuid}/resume")
async def resume_sync_job(job_id: UUID, context: Administering, request: Request) -> Response:
    """Run by schedule again, from the mark on: nothing of the pause is left out. Also ends an error."""
    refuse_parameters(request.query_params.multi_items())
    job = await find_job(context, job_id, locked=True)
    now = await context.tx.one(delivery_log.clock())
    assert now is not None
    following = Schedule(job.schedule, job.timezone).next_after(now) if job.schedule else None
    return await _changed(
        context, job.id, {"status": "active", "error": None, "next_run_at": following}
    )


@router.post("/{job_id:uuid}/reset")
async def reset_sync_job(job_id: UUID, context: Administering, request: Request) -> Response:
    """Two switches: `state` forgets how far the job has come, so that everything is read again; `cache` what
    is known of the records' content, so that everything that is read is written again. No record is
    doubled by either.
    """
    refuse_parameters(request.query_params.multi_items())
    body = await read_json(request)
    reading = Reading()
    given: dict[str, Json] = body if isinstance(body, dict) else {}
    if not isinstance(body, dict):
        reading.fault("#", "type", "expected an object")
    reading.keys(given, ("state", "cache"), "#")
    state, cache = reading.flag(given, "state", "#"), reading.flag(given, "cache", "#")
    if not reading.faults and not (state or cache):
        reading.fault("#/state", "required", "say what to reset: state, cache, or both, as true")
    if reading.faults:
        raise Invalid("The reset cannot be read.", faults=reading.faults)
    job = await find_job(context, job_id, locked=True)
    for step in sync_jobs.reset_steps(job.tenant_id, job.id, state=state, cache=cache):
        await context.tx.run(step)
    return JsonAnswer(job_json(await find_job(context, job_id)))


@router.get("/{job_id:uuid}/coverage")
async def get_coverage(job_id: UUID, context: Administering, request: Request) -> Response:
    """Which windows have been read whole, by the other system's clock, and which between the start and the
    mark were not."""
    refuse_parameters(request.query_params.multi_items())
    job = await find_job(context, job_id)
    gaps = await context.tx.one(sync_jobs.gaps(job.tenant_id, job.id)) or ()
    return JsonAnswer(
        {
            "startDate": job.start_date,
            "mark": job.mark,
            "markSource": job.mark_source,
            "covered": [interval_json(part) for part in job.coverage],
            "gaps": [interval_json(part) for part in gaps],
        }
    )


async def _changed(context: Context, job_id: UUID, values: dict[str, Any]) -> Response:
    job = await context.tx.one(sync_jobs.update_job(context.principal.tenant_id, job_id, values))
    assert job is not None
    return JsonAnswer(job_json(job))

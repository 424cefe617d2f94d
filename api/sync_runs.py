"""/api/v1/sync-jobs/{id}/run and /runs, and /api/v1/dead-letters: syncs asked for, and what did not come over."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from api.body import JsonAnswer, read_json
from api.context import Administering, Caller, Context, caller, platform, transaction
from api.launching import launch
from api.sync_shown import drift_json, find_job, find_run, letter_json, run_json
from hubblewave_pipelines.core.asset_keys import sync_key
from hubblewave_pipelines.core.entity import Json
from hubblewave_pipelines.core.errors import Conflict, Invalid, NotFound
from hubblewave_pipelines.core.given import Given
from hubblewave_pipelines.core.parameters import parse_paging, refuse_parameters
from hubblewave_pipelines.core.reading import Reading, below
from hubblewave_pipelines.core.sync_request import instant
from hubblewave_pipelines.storage import sync_dead_letters, sync_runs, work
from hubblewave_pipelines.storage.sync_jobs import SyncJob
from hubblewave_pipelines.storage.sync_runs import SyncRun
from hubblewave_pipelines.storage.work import WorkRequest

router = APIRouter()
Owner = Annotated[Caller, Depends(caller("admin"))]

_RUN_STATUSES = ("pending", "running", "success", "partial", "failed", "cancelled")
_LETTER_STATUSES = ("open", "resolved")


@router.post("/sync-jobs/{job_id:uuid}/run")
async def run_sync_job(job_id: UUID, found: Owner, request: Request) -> Response:
    """Ask for a run: of what is new since the mark, or of the window `{from, to}`, which moves no mark.

    `allowDeletes` lets this run delete more than the brake would.
    """
    refuse_parameters(request.query_params.multi_items())
    window, allow = _window(await read_json(request) if await request.body() else {})
    async with transaction(request, found) as context:
        job = await find_job(context, job_id, locked=True)
        run, asked = await _ask(context, job, window=window, allow_deletes=allow)
    await launch(platform(request), asked)
    return _accepted(run, request)


async def _ask(
    context: Context,
    job: SyncJob,
    *,
    kind: str = "live",
    window: tuple[datetime, datetime] | None = None,
    allow_deletes: bool = False,
) -> tuple[SyncRun, WorkRequest]:
    """A run and the request for it. Raises Conflict when one of the same kind waits or is at work."""
    principal = context.principal
    open_runs = await context.tx.all(sync_runs.open_runs(job.tenant_id, job.id))
    alike = [run for run in open_runs if run.kind == kind] if window is None else []
    if alike:
        raise Conflict(f"The run {alike[0].id} of this job is not over yet.")
    run = await context.tx.one(
        sync_runs.insert_run(
            job.tenant_id,
            job.id,
            kind=kind,
            window=window,
            allow_deletes=allow_deletes,
            created_by=principal.actor_id,
        )
    )
    assert run is not None
    key = sync_key(principal.tenant_slug, job.source_entity, job.id)
    asked = await context.tx.one(
        work.insert_request(job.tenant_id, "sync", run.id, key, principal.actor_id)
    )
    assert asked is not None
    return run, asked


def _accepted(run: SyncRun, request: Request) -> Response:
    shown = run_json(run, platform(request))
    return JsonAnswer(shown, 202, {"Location": shown["url"]})


def _window(body: Json) -> tuple[tuple[datetime, datetime] | None, bool]:
    reading = Reading()
    given: dict[str, Json] = body if isinstance(body, dict) else {}
    if not isinstance(body, dict):
        reading.fault("#", "type", "expected an object")
    reading.keys(given, ("from", "to", "allowDeletes"), "#")
    allow = reading.flag(given, "allowDeletes", "#")
    ends: dict[str, datetime] = {}
    for name in ("from", "to"):
        text = reading.text(given, name, "#", longest=40)
        found = None if text is None else instant(text)
        if found is not None:
            ends[name] = found
        elif text is not None:
            detail = f"{name} must be a date-time with a zone, such as 2026-01-01T00:00:00Z"
            reading.fault(below("#", name), "format", detail)
    if not reading.faults and len(ends) == 1:
        missing = "to" if "from" in ends else "from"
        reading.fault(below("#", missing), "required", "a window has both, from and to")
    if len(ends) == 2 and ends["from"] >= ends["to"]:
        reading.fault("#/to", "range", "to must be after from")
    if reading.faults:
        raise Invalid("The run cannot be asked for.", faults=reading.faults)
    return ((ends["from"], ends["to"]) if ends else None), allow


@router.get("/sync-jobs/{job_id:uuid}/runs")
async def list_sync_runs(job_id: UUID, context: Administering, request: Request) -> Response:
    """The runs of a job, newest first; `status` chooses some."""
    given = request.query_params.multi_items()
    paging = parse_paging(given, "status")
    status = _status(given, _RUN_STATUSES)
    job = await find_job(context, job_id)
    total = await context.tx.one(sync_runs.count_runs(job.tenant_id, job.id, status=status))
    runs = await context.tx.all(
        sync_runs.runs_of(
            job.tenant_id, job.id, limit=paging.size, offset=paging.offset, status=status
        )
    )
    items = [run_json(run, platform(request)) for run in runs]
    return JsonAnswer({"items": items, "pageInfo": paging.page_info(total or 0)})


def _status(given: list[tuple[str, str]], known: tuple[str, ...]) -> str | None:
    found = Given.of_address(given)
    status = found.text("status")
    if status is not None and status not in known:
        found.fault("status", "enum", f"must be one of {', '.join(known)}")
    found.done()
    return status


@router.get("/sync-jobs/{job_id:uuid}/runs/{run_id:uuid}")
async def get_sync_run(
    job_id: UUID, run_id: UUID, context: Administering, request: Request
) -> Response:
    """One run, with the windows that it read and what the other system counts in each."""
    refuse_parameters(request.query_params.multi_items())
    run = await find_run(context, job_id, run_id)
    windows = await context.tx.all(sync_runs.windows_of(run.tenant_id, [run.id]))
    return JsonAnswer(run_json(run, platform(request), windows))


@router.post("/sync-jobs/{job_id:uuid}/runs/{run_id:uuid}/cancel")
async def cancel_sync_run(job_id: UUID, run_id: UUID, found: Owner, request: Request) -> Response:
    """Stop a run after the page it is at; what it has brought stays, and the next one goes on from there."""
    refuse_parameters(request.query_params.multi_items())
    async with transaction(request, found) as context:
        run = await find_run(context, job_id, run_id)
        cancelled = await context.tx.one(sync_runs.request_cancel(run.tenant_id, run.id))
        if cancelled is None:
            raise Conflict("The run is over.")
        await context.tx.run(work.cancel_unclaimed(run.tenant_id, run.id))
    return JsonAnswer(run_json(cancelled, platform(request)), 202)


@router.get("/sync-jobs/{job_id:uuid}/drifts")
async def list_drifts(job_id: UUID, context: Administering, request: Request) -> Response:
    """What changed in the form of the stream since its mapping was made, and nobody has looked at yet."""
    refuse_parameters(request.query_params.multi_items())
    job = await find_job(context, job_id)
    drifts = await context.tx.all(sync_dead_letters.drifts_of(job.tenant_id, job.id))
    return JsonAnswer({"items": [drift_json(drift) for drift in drifts]})


@router.get("/dead-letters")
async def list_sync_dead_letters(context: Administering, request: Request) -> Response:
    """Records that syncs could not bring over, with every reason, newest first; `syncJobId` and `status`
    (`open`, `resolved`) choose some."""
    given = request.query_params.multi_items()
    paging = parse_paging(given, "syncJobId", "status")
    status = _status(given, _LETTER_STATUSES)
    job_id = dict(given).get("syncJobId")
    try:
        chosen = None if job_id is None else UUID(job_id)
    except ValueError as error:
        raise NotFound(f"There is no sync job {str(job_id)[:60]}.") from error
    if chosen is not None:
        await find_job(context, chosen)
    tenant_id = context.principal.tenant_id
    total = await context.tx.one(
        sync_dead_letters.count_dead_letters(tenant_id, job_id=chosen, status=status)
    )
    letters = await context.tx.all(
        sync_dead_letters.dead_letters_of(
            tenant_id, limit=paging.size, offset=paging.offset, job_id=chosen, status=status
        )
    )
    items = [letter_json(letter) for letter in letters]
    return JsonAnswer({"items": items, "pageInfo": paging.page_info(total or 0)})


@router.post("/dead-letters/replay")
async def replay_sync_dead_letters(found: Owner, request: Request) -> Response:
    """Read the records of a job's open dead letters as they are now, and try them again: a run of kind
    `replay`."""
    refuse_parameters(request.query_params.multi_items())
    body = await read_json(request)
    reading = Reading()
    given: dict[str, Json] = body if isinstance(body, dict) else {}
    if not isinstance(body, dict):
        reading.fault("#", "type", "expected an object")
    reading.keys(given, ("syncJobId",), "#")
    text = reading.text(given, "syncJobId", "#", longest=100)
    try:
        job_id = UUID(text) if text else None
    except ValueError:
        job_id = None
    if job_id is None and not reading.faults:
        reading.fault("#/syncJobId", "required", "syncJobId is required: the id of a sync job")
    if reading.faults or job_id is None:
        raise Invalid("The replay cannot be read.", faults=reading.faults)
    async with transaction(request, found) as context:
        job = await find_job(context, job_id, locked=True)
        if not await context.tx.one(sync_dead_letters.has_open(job.tenant_id, job.id)):
            raise Conflict("The sync job has no open dead letters.")
        run, asked = await _ask(context, job, kind="replay")
    await launch(platform(request), asked)
    return _accepted(run, request)

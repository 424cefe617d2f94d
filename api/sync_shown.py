"""A sync job, a run of it, a dead letter and a drift, as JSON."""

from datetime import datetime
from typing import Any
from uuid import UUID

from api.context import Context, Platform
from hubblewave_pipelines.core.errors import NotFound
from hubblewave_pipelines.storage import sync_jobs, sync_runs
from hubblewave_pipelines.storage.sync_dead_letters import Drift, SyncDeadLetter
from hubblewave_pipelines.storage.sync_jobs import Interval, SyncJob
from hubblewave_pipelines.storage.sync_runs import SyncRun, WindowRead


async def find_job(context: Context, job_id: UUID, *, locked: bool = False) -> SyncJob:
    """Raises NotFound when the tenant has no such job."""
    tenant_id = context.principal.tenant_id
    find = sync_jobs.hold_job if locked else sync_jobs.job_by_id
    found = await context.tx.one(find(tenant_id, job_id))
    if found is None:
        raise NotFound(f"There is no sync job {job_id}.")
    return found


async def find_run(context: Context, job_id: UUID, run_id: UUID) -> SyncRun:
    """Raises NotFound when the job has no such run."""
    found = await context.tx.one(sync_runs.run_by_id(context.principal.tenant_id, run_id))
    if found is None or found.job_id != job_id:
        raise NotFound(f"There is no run {run_id} of this sync job.")
    return found


def written(job: SyncJob) -> dict[str, Any]:
    """A job in the form in which it is written."""
    return {
        "name": job.name,
        "connector": job.connector_id,
        "direction": job.direction,
        "sourceEntity": job.source_entity,
        "targetEntity": job.entity_name,
        "fieldMapping": job.field_mapping,
        "matchField": job.match_field,
        "filter": job.filter,
        "schedule": job.schedule,
        "timezone": job.timezone if job.schedule else None,
        "conflictResolution": job.conflict_resolution,
        "deletePolicy": job.delete_policy,
        "deleteField": job.delete_field,
        "brake": {"rows": job.brake_rows, "percent": job.brake_percent},
        "window": job.window_size,
        "startDate": job.start_date,
        "snapshotHours": job.snapshot_hours,
        "emitEvents": job.emit_events,
    }


def job_json(job: SyncJob) -> dict[str, Any]:
    return {
        "id": job.id,
        **written(job),
        "status": job.status,
        "error": job.error,
        "nextRunAt": job.next_run_at,
        "mark": job.mark,
        "markSource": job.mark_source,
        "lastRunId": job.last_run_id,
        "lastSuccessAt": job.last_success_at,
        "createdAt": job.created_at,
        "updatedAt": job.updated_at,
    }


def run_json(
    run: SyncRun, held: Platform, windows: list[WindowRead] | None = None
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "id": run.id,
        "syncJobId": run.job_id,
        "kind": run.kind,
        "status": run.status,
        "from": run.window_start,
        "to": run.window_end,
        "allowDeletes": run.allow_deletes,
        "cancelRequested": run.cancel_requested,
        "processed": run.processed,
        "success": run.succeeded,
        "failed": run.failed,
        "created": run.created,
        "updated": run.updated,
        "unchanged": run.unchanged,
        "deleted": run.deleted,
        "requests": run.requests,
        "minRequests": run.min_requests,
        "mark": run.mark,
        "markSource": run.mark_source,
        "markLagSeconds": run.mark_lag,
        "notes": run.notes,
        "error": run.error,
        "url": f"/api/v1/sync-jobs/{run.job_id}/runs/{run.id}",
        "runUrl": None if run.run_id is None else held.dagster.run_url(run.run_id),
        "createdAt": run.created_at,
        "startedAt": run.started_at,
        "completedAt": run.completed_at,
    }
    if windows is not None:
        found["windows"] = [
            {
                "from": each.low,
                "to": each.high,
                "rows": each.rows,
                "deleted": each.deleted,
                "remoteCount": each.remote_count,
                "localCount": each.local_count,
                "completedAt": each.completed_at,
            }
            for each in windows
        ]
    return found


def interval_json(part: Interval) -> dict[str, datetime | None]:
    return {"from": part[0], "to": part[1]}


def letter_json(letter: SyncDeadLetter) -> dict[str, Any]:
    return {
        "id": letter.id,
        "syncJobId": letter.job_id,
        "key": letter.key,
        "status": letter.status,
        "version": letter.version,
        "payload": letter.payload,
        "code": letter.code,
        "errors": letter.faults,
        "attempts": letter.attempts,
        "firstRunId": letter.first_run_id,
        "lastRunId": letter.last_run_id,
        "resolution": letter.resolution,
        "createdAt": letter.created_at,
        "updatedAt": letter.updated_at,
        "resolvedAt": letter.resolved_at,
    }


def drift_json(drift: Drift) -> dict[str, Any]:
    return {
        "id": drift.id,
        "field": drift.field,
        "change": drift.change,
        "before": drift.before,
        "after": drift.after,
        "mapped": drift.mapped,
        "status": drift.status,
        "createdAt": drift.created_at,
    }

"""An export as its readers see it, and the one that a path names."""

from typing import Any
from uuid import UUID

from api.context import Context, Platform
from hubblewave_pipelines.core.errors import NotFound
from hubblewave_pipelines.storage import exports
from hubblewave_pipelines.storage.exports import ExportJob


def progress_of(job: ExportJob) -> int:
    """Percent: of the rows that the planner expects, so it may wait at 99."""
    if job.status == "completed":
        return 100
    return min(100 * job.done // job.expected, 99) if job.expected else 0


def export_json(job: ExportJob, held: Platform) -> dict[str, Any]:
    """`downloadUrl` is there while the file is."""
    there = job.status == "completed" and job.removed_at is None
    return {
        "id": job.id,
        "entity": job.entity_name,
        **job.query,
        "format": job.format,
        "options": job.options,
        "status": job.status,
        "progress": progress_of(job),
        "recordsWritten": job.done,
        "totalRecords": job.total,
        "fileName": job.file_name,
        "fileSize": job.file_size,
        "sha256": None if job.file_sha256 is None else job.file_sha256.hex(),
        "manifest": job.manifest,
        "destination": job.destination,
        "deliveredTo": job.delivered_to,
        "schedule": job.schedule,
        "timezone": job.timezone,
        "nextRunAt": job.next_run_at if job.status == "scheduled" else None,
        "lastExportId": job.last_export_id,
        "scheduleId": job.schedule_id,
        "error": job.error,
        "cancelRequested": job.cancel_requested,
        "downloadUrl": f"/api/v1/exports/{job.id}/download" if there else None,
        "expiresAt": job.expires_at,
        "runUrl": None if job.run_id is None else held.dagster.run_url(job.run_id),
        "createdAt": job.created_at,
        "startedAt": job.started_at,
        "completedAt": job.completed_at,
    }


def export_id_of(text: str) -> UUID:
    """The id in a path. Raises NotFound when it cannot be one."""
    try:
        return UUID(text)
    except ValueError as error:
        raise NotFound(f"There is no export {text[:60]}.") from error


async def find_export(context: Context, text: str) -> ExportJob:
    """The export named in a path. Raises NotFound."""
    job = await context.tx.one(exports.job_by_id(context.principal.tenant_id, export_id_of(text)))
    if job is None:
        raise NotFound(f"There is no export {text[:60]}.")
    return job

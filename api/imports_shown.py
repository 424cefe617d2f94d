"""An import job as its readers see it, and the one that a path names."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from api.context import Context, Platform
from hubblewave_pipelines.core.errors import NotFound
from hubblewave_pipelines.storage import imports
from hubblewave_pipelines.storage.imports import ImportJob
from hubblewave_pipelines.transfer.formats import shown, stored_source

_DONE = ("completed", "partial")


def import_json(job: ImportJob, held: Platform) -> dict[str, Any]:
    """An import as its readers see it; rate and remaining time are null when it is not at work."""
    read = 100 * job.bytes_done // job.file_size if job.file_size else 0
    rate, left = _speed(job)
    source = stored_source(job.detected)
    return {
        "id": job.id,
        "entity": job.entity_name,
        "fileName": job.file_name,
        "fileSize": job.file_size,
        "sha256": job.file_sha256.hex(),
        "status": job.status,
        "progress": 100 if job.status in _DONE else min(read, 99),
        "bytesRead": job.bytes_done,
        "rowsPerSecond": rate,
        "secondsLeft": left,
        "totalRecords": job.total,
        "successRecords": job.total - job.failed,
        "createdRecords": job.created,
        "updatedRecords": job.updated,
        "unchangedRecords": job.unchanged,
        "skippedRecords": job.skipped,
        "failedRecords": job.failed,
        "error": job.error,
        "mapping": job.mapping,
        "options": job.options,
        "detected": None if source is None else shown(source),
        "cancelRequested": job.cancel_requested,
        "runUrl": None if job.run_id is None else held.dagster.run_url(job.run_id),
        "createdAt": job.created_at,
        "startedAt": job.started_at,
        "completedAt": job.completed_at,
    }


def _speed(job: ImportJob) -> tuple[int | None, int | None]:
    """Rows per second since the import began, and the seconds that the rest of its file will take
    at the speed so far."""
    if job.status != "processing" or job.started_at is None or not job.bytes_done:
        return None, None
    seconds = max((datetime.now(UTC) - job.started_at).total_seconds(), 0.001)
    left = seconds * (job.file_size - job.bytes_done) / job.bytes_done
    return round(job.total / seconds), max(round(left), 0)


def import_id_of(text: str) -> UUID:
    """The id in a path. Raises NotFound when it cannot be one."""
    try:
        return UUID(text)
    except ValueError as error:
        raise NotFound(f"There is no import {text[:60]}.") from error


async def find_import(context: Context, text: str) -> ImportJob:
    """The import named in a path. Raises NotFound."""
    job = await context.tx.one(imports.job_by_id(context.principal.tenant_id, import_id_of(text)))
    if job is None:
        raise NotFound(f"There is no import {text[:60]}.")
    return job

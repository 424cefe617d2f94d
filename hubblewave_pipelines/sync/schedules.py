"""Runs that are asked for: by a job's schedule, by a person, or by Dagster for a range of windows."""

import logging
from datetime import datetime
from uuid import UUID

from hubblewave_pipelines.core.asset_keys import sync_key
from hubblewave_pipelines.core.schedule import Schedule
from hubblewave_pipelines.storage import sync_jobs, sync_runs, tenants, work
from hubblewave_pipelines.storage.database import Database, Transaction
from hubblewave_pipelines.storage.sync_jobs import SyncJob
from hubblewave_pipelines.storage.work import WorkRequest

logger = logging.getLogger(__name__)
_MOST = 500


def make_due_syncs(database: Database) -> int:
    """Ask for a run of each job that is due; how many were asked for.

    What was missed while nobody looked is made up for once: a run goes on from the mark, however
    long ago that is. A job whose last run is not over is passed over until its next time. Safe to
    call from several processes at once.
    """
    with database.transaction() as tx:
        due = tx.all(sync_jobs.due_jobs(_MOST))
    made = 0
    for tenant_id, job_id in due:
        with database.transaction(tenant_id) as tx:
            made += _make(tx, tenant_id, job_id)
    return made


def _make(tx: Transaction, tenant_id: UUID, job_id: UUID) -> bool:
    held = tx.one(sync_jobs.hold_due(tenant_id, job_id))
    if held is None:
        return False  # another process has it, or had it
    job, now = held
    busy = any(run.kind == "live" for run in tx.all(sync_runs.open_runs(tenant_id, job_id)))
    if busy:
        logger.warning("Sync %s is due and its last run is not over: passed over", job.name)
    else:
        ask(tx, job)
    schedule = Schedule(job.schedule or "", job.timezone)
    tx.run(sync_jobs.reschedule(tenant_id, job_id, schedule.next_after(now)))
    return not busy


def ask(
    tx: Transaction,
    job: SyncJob,
    *,
    window: tuple[datetime, datetime] | None = None,
    created_by: UUID | None = None,
) -> WorkRequest:
    """A run and the request for it, in a transaction on behalf of the job's tenant."""
    run = tx.one(sync_runs.insert_run(job.tenant_id, job.id, window=window, created_by=created_by))
    tenant = tx.one(tenants.tenant_by_id(job.tenant_id))
    if run is None or tenant is None:
        raise LookupError(f"the tenant of sync job {job.id} is gone")
    key = sync_key(tenant.slug, job.source_entity, job.id)
    request = tx.one(work.insert_request(job.tenant_id, "sync", run.id, key, created_by))
    assert request is not None
    return request

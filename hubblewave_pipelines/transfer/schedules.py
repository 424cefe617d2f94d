"""Scheduled exports whose time has come become exports that are asked for."""

import logging
from uuid import UUID

from hubblewave_pipelines.core.asset_keys import export_key
from hubblewave_pipelines.core.schedule import Schedule
from hubblewave_pipelines.storage import exports, tenants, work
from hubblewave_pipelines.storage.catalog import load_catalog
from hubblewave_pipelines.storage.database import Database, Transaction
from hubblewave_pipelines.storage.exports import ExportJob, NewExport

logger = logging.getLogger(__name__)
_MOST = 500


def make_due_exports(database: Database) -> int:
    """Ask for an export per schedule that is due; how many were asked for.

    What was missed while nobody looked is made up for once. A schedule whose last export is not
    over is passed over until its next time. Safe to call from several processes at once.
    """
    with database.transaction() as tx:
        due = tx.all(exports.due_schedules(_MOST))
    made = 0
    for tenant_id, schedule_id in due:
        with database.transaction(tenant_id) as tx:
            made += _make(tx, tenant_id, schedule_id)
    return made


def _make(tx: Transaction, tenant_id: UUID, schedule_id: UUID) -> bool:
    held = tx.one(exports.hold_schedule(tenant_id, schedule_id))
    if held is None:
        return False  # another process has it, or had it
    scheduled, now = held
    busy = tx.one(exports.open_exports(tenant_id, schedule_id))
    made = None if busy else _ask(tx, scheduled)
    if busy:
        logger.warning("Export %s is due and its last run is not over: passed over", schedule_id)
    schedule = Schedule(scheduled.schedule or "", scheduled.timezone or "UTC")
    tx.run(exports.reschedule(tenant_id, schedule_id, schedule.next_after(now), made))
    return made is not None


def _ask(tx: Transaction, scheduled: ExportJob) -> UUID | None:
    """Write the export and ask for its run. One whose entity is gone fails when it runs."""
    tenant = tx.one(tenants.tenant_by_id(scheduled.tenant_id))
    catalog = load_catalog(tx, scheduled.tenant_id)
    entity = next((e for e in catalog if e.id == scheduled.entity_id), None)
    slug = entity.slug if entity is not None else scheduled.entity_name.lower()
    job = tx.one(
        exports.insert_job(
            NewExport(
                tenant_id=scheduled.tenant_id,
                entity_id=scheduled.entity_id,
                entity_name=scheduled.entity_name,
                query=scheduled.query,
                format=scheduled.format,
                options=scheduled.options,
                destination=scheduled.destination,
                created_by=scheduled.created_by,
                schedule_id=scheduled.id,
            )
        )
    )
    if job is None or tenant is None:
        return None
    key = export_key(tenant.slug, slug, scheduled.id)
    tx.one(work.insert_request(tenant.id, "export", job.id, key, scheduled.created_by))
    return job.id

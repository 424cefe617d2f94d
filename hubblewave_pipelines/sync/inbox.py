"""The inbox of webhooks from external systems: what came in is brought over by a run of the jobs concerned."""

from datetime import timedelta
from uuid import UUID

from hubblewave_pipelines.storage import inbound, sync_jobs, sync_runs
from hubblewave_pipelines.storage.database import Database, Transaction
from hubblewave_pipelines.sync.schedules import ask

# No system vouches for its newest changes at once (its index lags, transactions are open): a run that is
# asked for sooner ends before the change that it was asked for.
RIPE = timedelta(seconds=90)
_MOST = 200


def ask_for_inbound(database: Database) -> int:
    """Ask for a run of each job whose connector was told of changes; how many were asked for.

    Any number of events becomes one run. A job at work is waited for: it may be past the change. Safe
    to call from several processes at once.
    """
    with database.transaction() as tx:
        waiting = tx.all(inbound.ripe(RIPE, _MOST))
    asked = 0
    for tenant_id, connector_id in waiting:
        with database.transaction(tenant_id) as tx:
            asked += _ask(tx, tenant_id, connector_id)
    return asked


def _ask(tx: Transaction, tenant_id: UUID, connector_id: UUID) -> int:
    jobs = tx.all(
        sync_jobs.jobs_of(
            tenant_id, limit=_MOST, offset=0, connector_id=connector_id, status="active"
        )
    )
    for job in jobs:
        tx.one(sync_jobs.hold_job(tenant_id, job.id))
    busy = any(
        run.kind == "live" for job in jobs for run in tx.all(sync_runs.open_runs(tenant_id, job.id))
    )
    if busy or not tx.run(inbound.handled(tenant_id, connector_id, RIPE)):
        return 0  # another process was quicker, or the next look finds them at rest
    tx.run(inbound.forget_handled(tenant_id, connector_id))
    for job in jobs:
        ask(tx, job)
    return len(jobs)

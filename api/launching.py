"""Launching the run of a work request right after its commit, so that its client need not wait."""

from api.context import Platform
from hubblewave_pipelines.storage import work
from hubblewave_pipelines.storage.work import WorkRequest


async def launch(held: Platform, request: WorkRequest) -> None:
    """Best effort: what is not launched here, a sensor launches, or a run of the tenant takes along.

    A tenant that has as many runs as it may have waits for one of them.
    """
    async with held.database.transaction(request.tenant_id) as tx:
        active = await tx.one(work.active(request.tenant_id)) or 0
    if active >= held.settings.runs_per_tenant:
        return
    run_id = await held.dagster.launch(request)
    if run_id is not None:
        async with held.database.transaction(request.tenant_id) as tx:
            await tx.run(work.submitted(request.id, run_id))

"""The safety net under the API's own launches: what is due is launched, what died is asked again.

Both sensors read rows and keep no cursor: the rows are the state.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter
from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from hubblewave_pipelines.definitions import asks, exports, imports, reverts, syncs
from hubblewave_pipelines.definitions.imports import import_adhoc
from hubblewave_pipelines.definitions.requested import ATTEMPT_TAG, run_tags
from hubblewave_pipelines.definitions.resources import Platform
from hubblewave_pipelines.storage import work
from hubblewave_pipelines.storage.database import Database
from hubblewave_pipelines.storage.work import OpenRequest, WorkRequest
from hubblewave_pipelines.sync.inbox import ask_for_inbound
from hubblewave_pipelines.sync.schedules import make_due_syncs
from hubblewave_pipelines.transfer.schedules import make_due_exports

INTERVAL_SECONDS = 5  # Dagster's floor
_MOST = 500
# Kind of work -> (the job of its assets, the job for assets that are not in the graph yet).
_JOBS = {
    "import": (imports.ASSET_JOB, imports.ADHOC_JOB),
    "export": (exports.ASSET_JOB, exports.ADHOC_JOB),
    "revert": (reverts.JOB, reverts.JOB),
    "check": (asks.JOB, asks.JOB),
    "discover": (asks.JOB, asks.JOB),
    "sync": (syncs.ADHOC_JOB, syncs.ADHOC_JOB),
}
_FINISHED_BADLY = {DagsterRunStatus.FAILURE, DagsterRunStatus.SUCCESS}


def dispatcher(
    jobs: Sequence[dg.JobDefinition | UnresolvedAssetJobDefinition],
) -> dg.SensorDefinition:
    """The sensor that launches with one of `jobs`: a graph without assets has no asset job."""
    return dg.SensorDefinition(
        name="dispatch",
        evaluation_fn=dispatch,
        jobs=jobs,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Launches requests that the API did not, retries and scheduled exports that came due.",
        required_resource_keys={"platform"},
    )


def dispatch(context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest]:
    database: Database = context.resources.platform.database
    make_due_exports(database)
    make_due_syncs(database)
    ask_for_inbound(database)
    with database.transaction() as tx:
        due = tx.all(work.due(_MOST, context.resources.platform.settings.runs_per_tenant))
    runs = _runs_of(context.instance, due)
    graph = context.repository_def.asset_graph if context.repository_def else None
    known = graph.executable_asset_keys if graph else set()
    for request in due:
        run = runs.get(request.attempt_key)
        if run is not None:
            _note_launch(database, request, run)
            continue
        key = dg.AssetKey(request.asset_key)
        # A key outside the loaded graph would fail the whole tick, and every request in it.
        yield dg.RunRequest(
            run_key=request.attempt_key,
            job_name=_job_of(request, key, graph) if key in known else _JOBS[request.kind][1],
            asset_selection=[key] if key in known else None,
            tags=run_tags(request),
        )


def _job_of(request: WorkRequest, key: dg.AssetKey, graph: BaseAssetGraph[Any] | None) -> str:
    """The job of an asset that is in the graph; that of a sync has the windows of its assets."""
    if request.kind != "sync" or graph is None:
        return _JOBS[request.kind][0]
    daily = isinstance(graph.get(key).partitions_def, dg.DailyPartitionsDefinition)
    return syncs.ASSET_JOBS["daily" if daily else "hourly"]


@dg.sensor(
    name="reconcile",
    job=import_adhoc,
    minimum_interval_seconds=INTERVAL_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Asks again for work whose run died, and ends what has died too often.",
)
def reconcile(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SkipReason:
    with platform.database.transaction() as tx:
        open_requests = tx.all(work.open_requests(_MOST))
    ids = [found.request.run_id for found in open_requests if found.request.run_id is not None]
    records = context.instance.get_run_records(RunsFilter(run_ids=ids)) if ids else []
    statuses = {record.dagster_run.run_id: record.dagster_run.status for record in records}
    moved = 0
    for found in open_requests:
        moved += settle(platform.database, found, statuses.get(found.request.run_id or ""))
    return dg.SkipReason(f"{len(open_requests)} requests in work, {moved} of them moved on.")


def settle(database: Database, found: OpenRequest, status: DagsterRunStatus | None) -> bool:
    """Move a request on when its run is over or dead; `status` None: Dagster has no such run."""
    reason = why_dead(found, status)
    if reason is None:
        return False
    request = found.request
    with database.transaction(request.tenant_id) as tx:
        if status is DagsterRunStatus.CANCELED:
            ended = tx.one(work.end(request, "cancelled", reason, code="cancelled"))
        else:
            delay = work.retry_delay(request.attempt)
            ended = tx.one(work.give_back(request, request.run_id, reason, delay=delay))
    return ended is not None


def why_dead(found: OpenRequest, status: DagsterRunStatus | None) -> str | None:
    """Why nobody works on an open request any more; None while somebody may."""
    run_id, state = found.request.run_id, found.request.state
    if found.held:
        return None  # the process lives, whatever Dagster believes
    if status is DagsterRunStatus.CANCELED:
        return f"Run {run_id} was terminated in Dagster."
    if status in _FINISHED_BADLY:
        return f"Run {run_id} ended as {status.value} without finishing the request."
    if found.idle <= work.LEASE_GRACE:
        return None
    if status is None:
        return f"Dagster does not know run {run_id}."
    if state == "running":
        return f"The process of run {run_id} is gone."
    return None  # submitted, and waiting in Dagster's queue


def _runs_of(instance: DagsterInstance, requests: Sequence[WorkRequest]) -> dict[str, DagsterRun]:
    """Runs that exist for these very attempts: launched, and the launch not noted."""
    if not requests:
        return {}
    keys = [request.attempt_key for request in requests]
    found = instance.get_runs(RunsFilter(tags={ATTEMPT_TAG: keys}))
    return {run.tags[ATTEMPT_TAG]: run for run in found}


def _note_launch(database: Database, request: WorkRequest, run: DagsterRun) -> None:
    """The API died between its launch and its note of it, or the last tick launched this."""
    with database.transaction() as tx:
        tx.run(work.submitted(request.id, run.run_id))

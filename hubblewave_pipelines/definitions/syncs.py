"""Runs that sync: the jobs of a connector in one op, windows as partitions, and a job for those not
yet in the graph."""

import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from uuid import UUID

import dagster as dg

from hubblewave_pipelines.definitions import sync_reporting
from hubblewave_pipelines.definitions.requested import (
    REQUEST_TAG,
    AdhocConfig,
    Context,
    attempt_in_run,
    request_of_adhoc,
)
from hubblewave_pipelines.definitions.resources import Platform
from hubblewave_pipelines.definitions.sync_reporting import Told
from hubblewave_pipelines.storage import sync_jobs
from hubblewave_pipelines.storage.work import WorkRequest
from hubblewave_pipelines.sync import schedules
from hubblewave_pipelines.sync.work import SyncProgress

ADHOC_JOB = "sync_adhoc"
ASSET_JOBS = {"hourly": "syncs_hourly", "daily": "syncs_daily"}
JOB_TAG = "hubblewave/sync_job"


def partitions_of(window_size: str, since: int) -> dg.TimeWindowPartitionsDefinition:
    """The windows of a grain, from the beginning of a year to the one that is not over."""
    if window_size == "daily":
        return dg.DailyPartitionsDefinition(start_date=f"{since}-01-01", end_offset=1)
    return dg.HourlyPartitionsDefinition(start_date=f"{since}-01-01-00:00", end_offset=1)


def connector_syncs(
    name: str,
    specs: list[dg.AssetSpec],
    checks: list[dg.AssetCheckSpec],
    jobs: Mapping[dg.AssetKey, tuple[UUID, UUID]],
    partitions: dg.TimeWindowPartitionsDefinition,
    pool: str,
) -> dg.AssetsDefinition:
    """One op for all jobs of a connector that have windows of one size. `jobs`: (tenant, job) of
    each asset."""

    @dg.multi_asset(
        name=name,
        specs=specs,
        check_specs=checks,
        can_subset=True,
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=pool,
    )
    def run_syncs(
        context: dg.AssetExecutionContext, platform: Platform
    ) -> Iterator[dg.MaterializeResult[None]]:
        failed: list[str] = []
        for request_id in _requests_of(context, platform, jobs):
            try:
                done = _attempt(context, platform, request_id)
            except dg.Failure as failure:
                failed.append(str(failure.description))
                continue
            if done is None:
                continue
            request, told = done
            _log_more(context, platform, request, told, partitions)
            yield dg.MaterializeResult(
                asset_key=dg.AssetKey(request.asset_key),
                metadata=sync_reporting.sync_metadata(told, platform.settings),
                check_results=sync_reporting.check_results(request, told),
            )
        if failed:
            raise dg.Failure("; ".join(failed), allow_retries=False)

    return run_syncs


def _requests_of(
    context: dg.AssetExecutionContext,
    platform: Platform,
    jobs: Mapping[dg.AssetKey, tuple[UUID, UUID]],
) -> list[UUID]:
    """The request in the run's tags; for a run that somebody launched in Dagster, new ones: for
    exactly the windows chosen there, or for what is new where none were."""
    named = context.run.tags.get(REQUEST_TAG)
    if named is not None:
        return [UUID(named)]
    chosen = None
    if context.has_partition_key or context.has_partition_key_range:
        span = context.partition_time_window
        if span.start < datetime.now(UTC):
            chosen = (span.start.astimezone(UTC), span.end.astimezone(UTC))
    made = []
    for key in sorted(context.selected_asset_keys):
        tenant_id, job_id = jobs[key]
        with platform.database.transaction(tenant_id) as tx:
            job = tx.one(sync_jobs.job_by_id(tenant_id, job_id))
            if job is None:
                context.log.warning("The job of %s is gone", key.to_user_string())
                continue
            request = schedules.ask(tx, job, window=chosen)
        shown = "what is new" if chosen is None else f"[{chosen[0]}, {chosen[1]})"
        context.log.info("Asked %s for %s", job.name, shown)
        made.append(request.id)
    return made


@dg.op(description="Runs one sync whose asset is not in the loaded graph yet.")
def sync_one(context: dg.OpExecutionContext, config: AdhocConfig, platform: Platform) -> None:
    done = _attempt(context, platform, request_of_adhoc(context, config))
    if done is None:
        return
    request, told = done
    context.log_event(
        dg.AssetMaterialization(
            asset_key=list(request.asset_key),
            metadata=sync_reporting.sync_metadata(told, platform.settings),
        )
    )
    partitions = partitions_of(told.job.window_size, told.job.created_at.year - 1)
    _log_more(context, platform, request, told, partitions)


def _log_more(
    context: Context,
    platform: Platform,
    request: WorkRequest,
    told: Told,
    partitions: dg.TimeWindowPartitionsDefinition,
) -> None:
    """What the run did beside the asset it was launched for: the entity's table, and windows."""
    context.log_event(sync_reporting.entity_event(request, told, platform.settings))
    if told.run.kind == "live":
        for event in sync_reporting.partition_events(request, told, partitions):
            context.log_event(event)


@dg.job(
    name=ADHOC_JOB,
    executor_def=dg.in_process_executor,
    description="Runs one sync whose asset is not in the loaded graph yet.",
)
def sync_adhoc() -> None:
    sync_one()


def _attempt(
    context: Context, platform: Platform, request_id: UUID
) -> tuple[WorkRequest, Told] | None:
    def do(request: WorkRequest, still_held: Callable[[], None]) -> Told:
        run = platform.run_sync(
            request.tenant_id,
            request.ref_id,
            run_id=context.run.run_id,
            still_held=still_held,
            progress=_progress_to(context.log),
        )
        return sync_reporting.told_of(platform.database, run)

    return attempt_in_run(context, platform, request_id, do)


def _progress_to(log: logging.Logger) -> Callable[[SyncProgress], None]:
    """A line in the run's log whenever the records have doubled."""
    done = said = 0

    def report(step: SyncProgress) -> None:
        nonlocal done, said
        done += step.counts.processed
        if done >= 2 * said:
            said = max(done, 1)
            log.info("%d records read", done)

    return report

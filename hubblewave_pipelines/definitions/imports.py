"""Runs that import: the assets of a tenant in one op, and a job for entities not yet in the graph."""

import logging
import time
from collections.abc import Callable, Iterator
from uuid import UUID

import dagster as dg

from hubblewave_pipelines.core.asset_keys import import_key
from hubblewave_pipelines.definitions import reporting
from hubblewave_pipelines.definitions.requested import (
    AdhocConfig,
    Context,
    attempt_in_run,
    request_of_adhoc,
    requests_of_run,
)
from hubblewave_pipelines.definitions.resources import Platform
from hubblewave_pipelines.storage import work
from hubblewave_pipelines.storage.work import WorkRequest
from hubblewave_pipelines.transfer.imports import ImportOutcome, ImportProgress

_SMALL_BYTES = 1_000_000  # merged in less time than a run takes to start
_TAKE_SECONDS = 60  # then the others get a run of their own
ADHOC_JOB = "import_adhoc"
ASSET_JOB = "imports"
_NOTHING_WAITS = (
    "No import waits for the chosen assets. Materialising does not read a file again: "
    "upload one with POST /api/v1/imports, or POST /api/v1/imports/{id}/retry."
)


def tenant_imports(
    tenant_slug: str, specs: list[dg.AssetSpec], checks: list[dg.AssetCheckSpec]
) -> dg.AssetsDefinition:
    """One op for all import assets of a tenant: Dagster loads thousands of them in a second."""

    @dg.multi_asset(
        name=f"import_{tenant_slug.replace('-', '_')}",
        specs=specs,
        check_specs=checks,
        can_subset=True,
        op_tags={"hubblewave/tenant": tenant_slug},
    )
    def run_imports(
        context: dg.AssetExecutionContext, platform: Platform
    ) -> Iterator[dg.MaterializeResult[None]]:
        tenants: set[UUID] = set()
        for request_id in requests_of_run(context, platform, _NOTHING_WAITS):
            done = _attempt(context, platform, request_id)
            if done is None:
                continue
            request, outcome = done
            tenants.add(request.tenant_id)
            for event in reporting.downstream_events(request, outcome, platform.settings):
                context.log_event(event)
            yield dg.MaterializeResult(
                asset_key=dg.AssetKey(request.asset_key),
                metadata=reporting.import_metadata(request, outcome, platform.settings),
                check_results=[reporting.rejected_share(request, outcome, platform.settings)],
            )
        for tenant_id in tenants:
            _take_along(context, platform, tenant_id)

    return run_imports


@dg.op(description="Runs one import whose asset is not in the loaded graph yet.")
def import_one(context: dg.OpExecutionContext, config: AdhocConfig, platform: Platform) -> None:
    done = _attempt(context, platform, request_of_adhoc(context, config))
    if done is None:
        return
    request, outcome = done
    _log_import(context, platform, request, outcome)
    _take_along(context, platform, request.tenant_id)


def _log_import(
    context: Context, platform: Platform, request: WorkRequest, outcome: ImportOutcome
) -> None:
    """What an import made whose asset the run was not launched for."""
    settings = platform.settings
    context.log_event(
        dg.AssetMaterialization(
            asset_key=import_key(*reporting.slugs_of(request)),
            metadata=reporting.import_metadata(request, outcome, settings),
        )
    )
    for event in reporting.downstream_events(request, outcome, settings):
        context.log_event(event)


def _take_along(context: Context, platform: Platform, tenant_id: UUID) -> None:
    """Small imports that wait for a run of their tenant: this one is warm, another costs a start.

    What fails is told by its own row, and is no failure of this run.
    """
    until, tried = time.monotonic() + _TAKE_SECONDS, set[UUID]()
    while time.monotonic() < until:
        with platform.database.transaction(tenant_id) as tx:
            waiting = tx.one(work.next_small_import(tenant_id, _SMALL_BYTES))
        if waiting is None or waiting in tried:
            return
        tried.add(waiting)
        try:
            done = _attempt(context, platform, waiting)
        except dg.Failure as failure:
            context.log.warning("Request %s was taken along and failed: %s", waiting, failure)
            continue
        if done is not None:
            _log_import(context, platform, *done)


@dg.job(
    name=ADHOC_JOB,
    executor_def=dg.in_process_executor,
    description="Runs one import whose asset is not in the loaded graph yet.",
)
def import_adhoc() -> None:
    import_one()


def _attempt(
    context: Context, platform: Platform, request_id: UUID
) -> tuple[WorkRequest, ImportOutcome] | None:
    def do(request: WorkRequest, still_held: Callable[[], None]) -> ImportOutcome:
        return platform.run_import(
            request.tenant_id,
            request.ref_id,
            run_id=context.run_id,
            still_held=still_held,
            progress=_progress_to(context.log),
        )

    return attempt_in_run(context, platform, request_id, do)


def _progress_to(log: logging.Logger) -> Callable[[ImportProgress], None]:
    """A line in the run's log each tenth of the file."""
    reached = 0

    def report(done: ImportProgress) -> None:
        nonlocal reached
        tenth = 10 * done.bytes_done // done.bytes_total if done.bytes_total else 10
        if tenth > reached:
            reached = tenth
            log.info("%d %%: %d rows, %d of them refused", tenth * 10, done.rows, done.rejected)

    return report

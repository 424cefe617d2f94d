"""Runs that import: the assets of a tenant in one op, and a job for entities not yet in the graph."""

import logging
from collections.abc import Callable, Iterator
from uuid import UUID

import dagster as dg
from dagster import DagsterRunStatus

from hubblewave_pipelines.core.asset_keys import import_key
from hubblewave_pipelines.core.errors import PlatformError
from hubblewave_pipelines.definitions import reporting
from hubblewave_pipelines.definitions.attempt import attempt_import
from hubblewave_pipelines.definitions.resources import Platform
from hubblewave_pipelines.storage import work
from hubblewave_pipelines.storage.work import WorkRequest
from hubblewave_pipelines.transfer.imports import ImportOutcome, ImportProgress

REQUEST_TAG = "hubblewave/request_id"
ATTEMPT_TAG = "hubblewave/attempt"
ADHOC_JOB = "import_adhoc"
ASSET_JOB = "imports"
Context = dg.AssetExecutionContext | dg.OpExecutionContext


def run_tags(request: WorkRequest) -> dict[str, str]:
    """The tags of every run launched for `request`, whoever launches it."""
    return {REQUEST_TAG: str(request.id), ATTEMPT_TAG: request.attempt_key}


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
        for request_id in _requests_named(context, platform):
            done = _attempt(context, platform, request_id)
            if done is None:
                continue
            request, outcome = done
            for event in reporting.downstream_events(request, outcome, platform.settings):
                context.log_event(event)
            yield dg.MaterializeResult(
                asset_key=dg.AssetKey(request.asset_key),
                metadata=reporting.import_metadata(request, outcome, platform.settings),
                check_results=[reporting.rejected_share(request, outcome, platform.settings)],
            )

    return run_imports


def _requests_named(context: dg.AssetExecutionContext, platform: Platform) -> list[UUID]:
    """The request in the run's tags; for a run started by hand, the oldest that waits per asset."""
    named = context.run.tags.get(REQUEST_TAG)
    if named is not None:
        return [UUID(named)]
    with platform.database.transaction() as tx:
        waiting = [
            found.id
            for key in sorted(context.selected_asset_keys)
            for found in tx.all(work.waiting_for(list(key.path), 1))
        ]
    if not waiting:
        raise dg.Failure(
            "No import waits for the chosen assets. Materialising does not read a file again: "
            "upload one with POST /api/v1/imports, or POST /api/v1/imports/{id}/retry.",
            allow_retries=False,
        )
    return waiting


class AdhocConfig(dg.Config):
    """`request_id` defaults to the run's tag."""

    request_id: str = ""


@dg.op(description="Runs one import whose asset is not in the loaded graph yet.")
def import_one(context: dg.OpExecutionContext, config: AdhocConfig, platform: Platform) -> None:
    request_id = config.request_id or context.run.tags.get(REQUEST_TAG, "")
    try:
        named = UUID(request_id)
    except ValueError as error:
        raise dg.Failure(
            f"request_id must name a work request, as a UUID; it is {request_id!r}.",
            allow_retries=False,
        ) from error
    done = _attempt(context, platform, named)
    if done is None:
        return
    request, outcome = done
    settings = platform.settings
    context.log_event(
        dg.AssetMaterialization(
            asset_key=import_key(*reporting.slugs_of(request)),
            metadata=reporting.import_metadata(request, outcome, settings),
        )
    )
    for event in reporting.downstream_events(request, outcome, settings):
        context.log_event(event)


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
    """Raises Failure with the reason when the import did not come to an end."""
    try:
        return attempt_import(
            platform,
            request_id,
            context.run_id,
            cancelled_by_operator=lambda: _is_canceling(context),
            progress=_progress_to(context.log, context),
            log=context.log,
        )
    except PlatformError as error:
        raise dg.Failure(
            error.detail,
            metadata={"code": error.code, "request": str(request_id)},
            allow_retries=False,
        ) from error


def _is_canceling(context: Context) -> bool:
    run = context.instance.get_run_by_id(context.run_id)
    return run is not None and run.status in (
        DagsterRunStatus.CANCELING,
        DagsterRunStatus.CANCELED,
    )


def _progress_to(log: logging.Logger, context: Context) -> Callable[[ImportProgress], None]:
    """A line in the run's log each tenth of the file."""
    reached = 0

    def report(done: ImportProgress) -> None:
        nonlocal reached
        tenth = 10 * done.bytes_done // done.bytes_total if done.bytes_total else 10
        if tenth > reached:
            reached = tenth
            log.info("%d %%: %d rows, %d of them refused", tenth * 10, done.rows, done.rejected)

    return report

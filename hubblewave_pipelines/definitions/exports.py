"""Runs that export: one asset per entity and per scheduled export, and a job for those not yet in the graph."""

import logging
from collections.abc import Callable, Iterator
from uuid import UUID

import dagster as dg

from hubblewave_pipelines.definitions.export_reporting import export_metadata
from hubblewave_pipelines.definitions.requested import (
    AdhocConfig,
    Context,
    attempt_in_run,
    request_of_adhoc,
    requests_of_run,
)
from hubblewave_pipelines.definitions.resources import Platform
from hubblewave_pipelines.storage.work import WorkRequest
from hubblewave_pipelines.transfer.exports import ExportOutcome, ExportProgress

ADHOC_JOB = "export_adhoc"
ASSET_JOB = "exports"
_NOTHING_WAITS = (
    "No export waits for the chosen assets. Ask for one with POST /api/v1/exports; a scheduled one "
    "comes by itself."
)


def tenant_exports(tenant_slug: str, specs: list[dg.AssetSpec]) -> dg.AssetsDefinition:
    """One op for all export assets of a tenant."""

    @dg.multi_asset(
        name=f"export_{tenant_slug.replace('-', '_')}",
        specs=specs,
        can_subset=True,
        op_tags={"hubblewave/tenant": tenant_slug},
    )
    def run_exports(
        context: dg.AssetExecutionContext, platform: Platform
    ) -> Iterator[dg.MaterializeResult[None]]:
        for request_id in requests_of_run(context, platform, _NOTHING_WAITS):
            done = _attempt(context, platform, request_id)
            if done is None or done[1].status != "completed":
                continue
            request, outcome = done
            yield dg.MaterializeResult(
                asset_key=dg.AssetKey(request.asset_key),
                metadata=export_metadata(request, outcome, platform.settings),
            )

    return run_exports


@dg.op(description="Runs one export whose asset is not in the loaded graph yet.")
def export_one(context: dg.OpExecutionContext, config: AdhocConfig, platform: Platform) -> None:
    done = _attempt(context, platform, request_of_adhoc(context, config))
    if done is None or done[1].status != "completed":
        return
    request, outcome = done
    context.log_event(
        dg.AssetMaterialization(
            asset_key=list(request.asset_key),
            metadata=export_metadata(request, outcome, platform.settings),
        )
    )


@dg.job(
    name=ADHOC_JOB,
    executor_def=dg.in_process_executor,
    description="Runs one export whose asset is not in the loaded graph yet.",
)
def export_adhoc() -> None:
    export_one()


def _attempt(
    context: Context, platform: Platform, request_id: UUID
) -> tuple[WorkRequest, ExportOutcome] | None:
    def do(request: WorkRequest, still_held: Callable[[], None]) -> ExportOutcome:
        return platform.run_export(
            request.tenant_id,
            request.ref_id,
            run_id=context.run_id,
            still_held=still_held,
            progress=_progress_to(context.log),
        )

    return attempt_in_run(context, platform, request_id, do)


def _progress_to(log: logging.Logger) -> Callable[[ExportProgress], None]:
    """A line in the run's log whenever the rows have doubled, and at the end."""
    said = 0

    def report(done: ExportProgress) -> None:
        nonlocal said
        if done.rows >= 2 * said or done.rows == done.expected:
            said = max(done.rows, 1)
            log.info("%d rows written of about %s", done.rows, done.expected)

    return report

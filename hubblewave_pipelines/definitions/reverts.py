"""Runs that take an import back; the entity's asset says what they did to its table."""

from collections.abc import Callable

import dagster as dg

from hubblewave_pipelines.core.asset_keys import entity_key
from hubblewave_pipelines.definitions.reporting import slugs_of
from hubblewave_pipelines.definitions.requested import (
    AdhocConfig,
    attempt_in_run,
    request_of_adhoc,
)
from hubblewave_pipelines.definitions.resources import Platform
from hubblewave_pipelines.storage.reverts import Revert
from hubblewave_pipelines.storage.work import WorkRequest

JOB = "import_revert"


@dg.op(description="Takes one import back; what others wrote since stays.")
def revert_one(context: dg.OpExecutionContext, config: AdhocConfig, platform: Platform) -> None:
    def say(done: Revert) -> None:
        context.log.info("%d removed, %d restored, %d kept", done.removed, done.restored, done.kept)

    def do(request: WorkRequest, still_held: Callable[[], None]) -> Revert:
        return platform.run_revert(
            request.tenant_id,
            request.ref_id,
            run_id=context.run_id,
            still_held=still_held,
            progress=say,
        )

    done = attempt_in_run(context, platform, request_of_adhoc(context, config), do)
    if done is None:
        return
    request, revert = done
    url = f"{platform.settings.api_url}/api/v1/imports/{revert.import_id}"
    context.log_event(
        dg.AssetMaterialization(
            asset_key=entity_key(*slugs_of(request)),
            description="An import was taken back.",
            metadata={
                "removed": revert.removed,
                "restored": revert.restored,
                "kept": revert.kept,
                "status": revert.status,
                "import": dg.MetadataValue.url(url),
            },
        )
    )


@dg.job(
    name=JOB,
    executor_def=dg.in_process_executor,
    description="Takes one import back; what others wrote since stays.",
)
def import_revert() -> None:
    revert_one()

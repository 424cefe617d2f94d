"""Runs that check a connector or discover what its system has; the row that asked keeps the answer."""

from collections.abc import Callable

import dagster as dg

from hubblewave_pipelines.definitions.requested import (
    AdhocConfig,
    attempt_in_run,
    request_of_adhoc,
)
from hubblewave_pipelines.definitions.resources import Platform
from hubblewave_pipelines.storage.connector_asks import Ask
from hubblewave_pipelines.storage.work import WorkRequest

JOB = "connector_ask"


@dg.op(description="Checks one connector, or lists the streams of its system.")
def ask_one(context: dg.OpExecutionContext, config: AdhocConfig, platform: Platform) -> None:
    def do(request: WorkRequest, still_held: Callable[[], None]) -> Ask:
        return platform.run_ask(
            request.tenant_id, request.ref_id, run_id=context.run_id, still_held=still_held
        )

    done = attempt_in_run(context, platform, request_of_adhoc(context, config), do)
    if done is not None:
        ask = done[1]
        context.log.info("%s of connector %s: %s", ask.kind, ask.connector_id, ask.status)


@dg.job(
    name=JOB,
    executor_def=dg.in_process_executor,
    description="Checks one connector, or lists the streams of its system.",
)
def connector_ask() -> None:
    ask_one()

"""What a run was launched for: the work request in its tags, attempted as Dagster wants it told."""

from collections.abc import Callable
from uuid import UUID

import dagster as dg
from dagster import DagsterRunStatus

from hubblewave_pipelines.core.errors import PlatformError
from hubblewave_pipelines.definitions.attempt import Done, attempt
from hubblewave_pipelines.definitions.resources import Platform
from hubblewave_pipelines.storage import work
from hubblewave_pipelines.storage.work import WorkRequest

REQUEST_TAG = "hubblewave/request_id"
ATTEMPT_TAG = "hubblewave/attempt"
Context = dg.AssetExecutionContext | dg.OpExecutionContext


def run_tags(request: WorkRequest) -> dict[str, str]:
    """The tags of every run launched for `request`, whoever launches it."""
    return {REQUEST_TAG: str(request.id), ATTEMPT_TAG: request.attempt_key}


def requests_of_run(
    context: dg.AssetExecutionContext, platform: Platform, nothing_waits: str
) -> list[UUID]:
    """The request in the run's tags; for a run started by hand, the oldest that waits per asset.

    Raises Failure with `nothing_waits` when there is none.
    """
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
        raise dg.Failure(nothing_waits, allow_retries=False)
    return waiting


class AdhocConfig(dg.Config):
    """`request_id` defaults to the run's tag."""

    request_id: str = ""


def request_of_adhoc(context: dg.OpExecutionContext, config: AdhocConfig) -> UUID:
    """Raises Failure when the run names no request."""
    given = config.request_id or context.run.tags.get(REQUEST_TAG, "")
    try:
        return UUID(given)
    except ValueError as error:
        raise dg.Failure(
            f"request_id must name a work request, as a UUID; it is {given!r}.",
            allow_retries=False,
        ) from error


def attempt_in_run(
    context: Context,
    platform: Platform,
    request_id: UUID,
    do: Callable[[WorkRequest, Callable[[], None]], Done],
) -> tuple[WorkRequest, Done] | None:
    """As `attempt`. Raises Failure with the reason when the work did not come to an end."""
    try:
        return attempt(
            platform.database,
            request_id,
            context.run_id,
            do=do,
            cancelled_by_operator=lambda: _is_canceling(context),
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

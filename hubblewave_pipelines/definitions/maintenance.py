"""Event-log retention: what finished runs logged goes, what happened to assets stays.

Dagster keeps every event for ever (17 of them for a small import), and deleting a run with its own
means deletes the materialisations with it. This deletes only what no asset's history needs.
"""

from datetime import UTC, datetime, timedelta

import dagster as dg
import sqlalchemy as sa
from dagster._core.events import ASSET_CHECK_EVENTS, ASSET_EVENTS
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as events
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.runs.schema import RunsTable as runs

_KEPT = sorted(kind.value for kind in ASSET_EVENTS | ASSET_CHECK_EVENTS)
_CHUNK = 5_000


class RetentionConfig(dg.Config):
    """How long finished runs keep the events that belong to no asset."""

    days: int = 14


def drop_run_events(storage: SqlEventLogStorage, before: datetime) -> int:
    """Delete, in chunks, events of finished runs older than `before`; returns how many.

    Materialisations, observations and check results stay, and so do the runs themselves.
    """
    old = (
        sa.select(events.c.id)
        .join(runs, runs.c.run_id == events.c.run_id)
        .where(
            events.c.timestamp < before.astimezone(UTC).replace(tzinfo=None),
            runs.c.status.in_([status.value for status in FINISHED_STATUSES]),
            sa.or_(
                events.c.dagster_event_type.is_(None), events.c.dagster_event_type.not_in(_KEPT)
            ),
        )
        .order_by(events.c.id)
        .limit(_CHUNK)
    )
    dropped = 0
    while True:
        with storage.index_connection() as connection:
            gone = connection.execute(sa.delete(events).where(events.c.id.in_(old))).rowcount
        dropped += gone
        if gone < _CHUNK:
            return dropped


@dg.op(description="Deletes old events of finished runs; keeps every asset's history.")
def drop_old_events(context: dg.OpExecutionContext, config: RetentionConfig) -> None:
    storage = context.instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        raise dg.Failure(
            f"Retention needs Dagster's events in an SQL database; they are in "
            f"{type(storage).__name__}.",
            allow_retries=False,
        )
    before = datetime.now(UTC) - timedelta(days=config.days)
    dropped = drop_run_events(storage, before)
    context.log.info("Deleted %d events of runs that ended before %s", dropped, before.isoformat())


@dg.job(
    executor_def=dg.in_process_executor,
    description="Keeps Dagster's event log from growing without bound.",
)
def event_retention() -> None:
    drop_old_events()


retention_schedule = dg.ScheduleDefinition(
    name="event_retention_daily",
    job=event_retention,
    cron_schedule="17 3 * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)

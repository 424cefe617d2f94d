"""History retention: the daily job that removes versions of records nobody wants to see any more."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from hubblewave_pipelines.definitions.resources import Platform
from hubblewave_pipelines.storage.history_retention import trim_history


@dg.op(description="Removes versions of records that ended longer ago than the settings keep them.")
def drop_old_versions(context: dg.OpExecutionContext, platform: Platform) -> None:
    days = platform.settings.history_days
    if days is None:
        context.log.info(
            "Every version of every record is kept (HUBBLEWAVE_HISTORY_DAYS is not set)"
        )
        return
    before = datetime.now(UTC) - timedelta(days=days)
    removed = trim_history(platform.database, before)
    context.log.info("Removed %d versions that ended before %s", removed, before.isoformat())


@dg.job(
    executor_def=dg.in_process_executor,
    description="Keeps the history of records from growing without bound, where that is wanted.",
)
def history_retention() -> None:
    drop_old_versions()


history_schedule = dg.ScheduleDefinition(
    name="history_retention_daily",
    job=history_retention,
    cron_schedule="37 4 * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)

"""Upload retention: the daily job that removes files no import needs any more."""

from datetime import timedelta

import dagster as dg

from hubblewave_pipelines.definitions.resources import Platform
from hubblewave_pipelines.transfer.spool import clear_spool


@dg.op(description="Removes uploaded files whose import ended, and those that belong to none.")
def clear_uploads(context: dg.OpExecutionContext, platform: Platform) -> None:
    settings = platform.settings
    keep = timedelta(days=settings.upload_days)
    cleared = clear_spool(platform.database, settings.spool, keep=keep)
    context.log.info(
        "Removed %d files of imports that ended more than %d days ago and %d of no import: %d bytes",
        cleared.spent,
        settings.upload_days,
        cleared.unknown,
        cleared.size,
    )


@dg.job(
    executor_def=dg.in_process_executor,
    description="Keeps uploaded files from filling the disk.",
)
def upload_retention() -> None:
    clear_uploads()


uploads_schedule = dg.ScheduleDefinition(
    name="upload_retention_daily",
    job=upload_retention,
    cron_schedule="47 3 * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)

"""Retention of files: the daily job that removes uploads and exports nobody needs any more."""

from datetime import timedelta

import dagster as dg

from hubblewave_pipelines.definitions.resources import Platform
from hubblewave_pipelines.transfer.spool import clear_exports, clear_spool


@dg.op(description="Removes uploads whose import ended, exports whose time is over, and strays.")
def clear_uploads(context: dg.OpExecutionContext, platform: Platform) -> None:
    settings = platform.settings
    keep = timedelta(days=settings.upload_days)
    cleared = clear_spool(platform.database, settings.spool, keep=keep)
    ended = clear_exports(platform.database, settings.export_dir)
    context.log.info(
        "Removed %d exported files whose time was over and %d of runs that died: %d bytes",
        ended.spent,
        ended.unknown,
        ended.size,
    )
    context.log.info(
        "Removed %d files of imports that ended more than %d days ago and %d of no import: %d bytes",
        cleared.spent,
        settings.upload_days,
        cleared.unknown,
        cleared.size,
    )


@dg.job(
    executor_def=dg.in_process_executor,
    description="Keeps uploaded and exported files from filling the disk.",
)
def upload_retention() -> None:
    clear_uploads()


uploads_schedule = dg.ScheduleDefinition(
    name="upload_retention_daily",
    job=upload_retention,
    cron_schedule="47 3 * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)

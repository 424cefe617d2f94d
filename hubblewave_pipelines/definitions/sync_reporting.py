"""A sync run's outcome as Dagster shows it: counts, requests, lag, windows, audits. Never row data."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from hubblewave_pipelines.core.asset_keys import entity_key
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage import sync_dead_letters, sync_jobs, sync_runs
from hubblewave_pipelines.storage.catalog import load_catalog
from hubblewave_pipelines.storage.database import Database
from hubblewave_pipelines.storage.sync_jobs import Interval, SyncJob
from hubblewave_pipelines.storage.sync_runs import SyncRun, WindowRead
from hubblewave_pipelines.storage.work import WorkRequest

COVERAGE, COUNTS, LETTERS = "coverage", "count_audit", "dead_letters"
CHECKS = {
    COVERAGE: "Everything between the job's start and its mark has been read.",
    COUNTS: "The other system's own counts of the windows are no higher than what is known here.",
    LETTERS: "Every record came over. List those that did not: GET /api/v1/dead-letters.",
}
_SHOWN_WINDOWS = 50
_MOST_PARTITIONS = 168  # a week of hours; what was read before shows in the coverage
Metadata = Mapping[str, Any]


@dataclass(frozen=True)
class Told:
    """What is to be told of a run that is over."""

    run: SyncRun
    job: SyncJob
    entity_slug: str
    windows: Sequence[WindowRead]
    gaps: Sequence[Interval]
    open_letters: int

    @property
    def status(self) -> str:
        return self.run.status


def told_of(database: Database, run: SyncRun) -> Told:
    with database.transaction(run.tenant_id) as tx:
        job = tx.one(sync_jobs.job_by_id(run.tenant_id, run.job_id))
        if job is None:
            raise LookupError("the sync job was removed while it ran")
        catalog = load_catalog(tx, run.tenant_id)
        windows = tx.all(sync_runs.windows_of(run.tenant_id, [run.id]))
        gaps = tx.one(sync_jobs.gaps(run.tenant_id, job.id)) or ()
        letters = tx.one(sync_dead_letters.count_dead_letters(run.tenant_id, job_id=job.id)) or 0
    slug = next((e.slug for e in catalog if e.id == job.entity_id), job.entity_name.lower())
    return Told(run, job, slug, windows, gaps, letters)


def sync_metadata(told: Told, settings: Settings) -> Metadata:
    run, job = told.run, told.job
    url = f"{settings.api_url}/api/v1/sync-jobs/{job.id}"
    ratio = run.requests / run.min_requests if run.min_requests else 1.0
    return {
        "dagster/row_count": run.processed,
        "created": run.created,
        "updated": run.updated,
        "unchanged": run.unchanged,
        "deleted": run.deleted,
        "set_aside": run.failed,
        "status": run.status,
        "requests": run.requests,
        "min_requests": run.min_requests,
        "requests_per_minimum": round(ratio, 3),
        "mark": "none yet" if job.mark is None else f"{job.mark.isoformat()} ({job.mark_source})",
        "mark_lag_seconds": round(run.mark_lag or 0.0, 1),
        "windows": dg.MetadataValue.md(_windows(told.windows)),
        "notes": dg.MetadataValue.md(_notes(run)),
        "sync": dg.MetadataValue.url(url),
    }


def _windows(windows: Sequence[WindowRead]) -> str:
    if not windows:
        return "Nothing was to be read: the other system's mark has not moved."
    lines = [
        "| from | to | records | deleted | counted there | known here |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {_at(w.low, 'since ever')} | {_at(w.high, 'now')} | {w.rows} | {w.deleted}"
        f" | {'-' if w.remote_count is None else w.remote_count}"
        f" | {'-' if w.local_count is None else w.local_count} |"
        for w in windows[-_SHOWN_WINDOWS:]
    ]
    return "\n".join(lines)


def _notes(run: SyncRun) -> str:
    notes = run.notes if isinstance(run.notes, list) else []
    lines = [f"- {n['code']}: {n['detail']}" for n in notes if isinstance(n, dict)]
    return "\n".join(lines) or "None."


def _at(at: datetime | None, none: str) -> str:
    return none if at is None else at.isoformat(timespec="seconds")


def check_results(request: WorkRequest, told: Told) -> list[dg.AssetCheckResult]:
    key = dg.AssetKey(request.asset_key)
    short = [
        w
        for w in told.windows
        if w.remote_count is not None
        and w.local_count is not None
        and w.remote_count > w.local_count
    ]
    return [
        dg.AssetCheckResult(
            check_name=COVERAGE,
            asset_key=key,
            passed=not told.gaps,
            severity=dg.AssetCheckSeverity.ERROR,
            metadata={
                "gaps": len(told.gaps),
                "first": _gap(told.gaps[0]) if told.gaps else "none",
            },
        ),
        dg.AssetCheckResult(
            check_name=COUNTS,
            asset_key=key,
            passed=not short,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={
                "windows": len(told.windows),
                "missing": sum((w.remote_count or 0) - (w.local_count or 0) for w in short),
            },
        ),
        dg.AssetCheckResult(
            check_name=LETTERS,
            asset_key=key,
            passed=told.open_letters == 0,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"open": told.open_letters},
        ),
    ]


def _gap(gap: Interval) -> str:
    return f"[{_at(gap[0], 'since ever')}, {_at(gap[1], 'now')})"


def entity_event(request: WorkRequest, told: Told, settings: Settings) -> dg.AssetMaterialization:
    """What the run did to the entity's table, and where each column comes from."""
    source = dg.AssetKey(request.asset_key)
    mapping = told.job.field_mapping if isinstance(told.job.field_mapping, list) else []
    lineage = {
        str(m["targetField"]): [
            dg.TableColumnDep(asset_key=source, column_name=str(m["sourceField"]))
        ]
        for m in mapping
        if isinstance(m, dict) and m.get("sourceField")
    }
    shown = sync_metadata(told, settings)
    kept = ("created", "updated", "unchanged", "deleted", "set_aside", "status", "sync")
    return dg.AssetMaterialization(
        asset_key=entity_key(request.asset_key[1], told.entity_slug),
        metadata={
            **{name: shown[name] for name in kept},
            "dagster/column_lineage": dg.TableColumnLineage(lineage),
        },
    )


def partition_events(
    request: WorkRequest, told: Told, partitions: dg.TimeWindowPartitionsDefinition
) -> Iterator[dg.AssetMaterialization]:
    """The windows of the asset that a run has filled, wherever it began and ended: those that it
    read whole, and the one that the mark stands in."""
    keys: dict[str, None] = {}
    for read in told.windows:
        high = read.high or told.job.mark
        if high is None:
            continue
        low = read.low or high - timedelta(hours=1)
        window = dg.TimeWindow(low.astimezone(UTC), high.astimezone(UTC))
        keys |= dict.fromkeys(partitions.get_partition_keys_in_time_window(window))
    for key in list(keys)[-_MOST_PARTITIONS:]:
        yield dg.AssetMaterialization(
            asset_key=list(request.asset_key), partition=key, metadata={"status": told.run.status}
        )

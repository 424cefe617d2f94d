"""One inbound run of a sync job from claim to outcome: windows read, merged and audited, resumable.

A thread reads and validates the next page while PostgreSQL merges this one. A page commits with
what it taught, its dead letters, the run's counts and the place to read on from, so that a run
killed at any instant goes on after its last committed page. A window is closed, and only then
counted as covered, when its deletes have been brought over too.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import psycopg

from hubblewave_pipelines.connectors.protocol import Connector
from hubblewave_pipelines.core.entity import Catalog, Entity
from hubblewave_pipelines.core.errors import JobFailed, Recovery, SyncFailed, VendorError
from hubblewave_pipelines.core.mapping import FieldMap, parse_mapping
from hubblewave_pipelines.core.reading import Reading
from hubblewave_pipelines.core.stream import Mark, Stream
from hubblewave_pipelines.core.sync_request import MATCHABLE
from hubblewave_pipelines.storage import sync_dead_letters, sync_jobs, sync_runs
from hubblewave_pipelines.storage.catalog import load_catalog
from hubblewave_pipelines.storage.database import Database
from hubblewave_pipelines.storage.refusals import unavailable
from hubblewave_pipelines.storage.sync_jobs import SyncJob
from hubblewave_pipelines.storage.sync_runs import Counts, SyncRun
from hubblewave_pipelines.sync.committing import FETCH, Committing
from hubblewave_pipelines.sync.deletes import Deletes
from hubblewave_pipelines.sync.planning import asked_window, changes_of, form_of, plan_digest
from hubblewave_pipelines.sync.windows import Windows
from hubblewave_pipelines.sync.work import Cancelled, Connect, RunRow, SyncProgress, Work

_SERIOUS = frozenset({"count.mismatch", "delete_brake"})


@dataclass(frozen=True)
class Inbound:
    """One attempt at one run."""

    database: Database
    connect: Connect
    tenant_id: UUID
    run_id: UUID
    dagster_run_id: str
    still_held: Callable[[], None]
    progress: Callable[[SyncProgress], None]

    def execute(self) -> SyncRun:
        with self.database.transaction(self.tenant_id) as tx:
            run = tx.one(sync_runs.start_run(self.tenant_id, self.run_id, self.dagster_run_id))
            job = None if run is None else tx.one(sync_jobs.job_by_id(self.tenant_id, run.job_id))
            catalog = load_catalog(tx, self.tenant_id)
        bare = RunRow(self.database, self.tenant_id, self.run_id, None, self.still_held)
        if run is None or job is None:
            return bare.settled()
        try:
            with self.connect(job) as opened:
                row = RunRow(self.database, self.tenant_id, self.run_id, opened, self.still_held)
                row.stop_if(run.cancel_requested)
                try:
                    self._run(row, prepared(row, opened.connector, job, run, catalog))
                finally:
                    row.count_requests()
        except (JobFailed, VendorError) as error:
            if error.recovery is not Recovery.RETRY:
                bare.end("failed", {"code": error.code, "detail": error.detail})
            raise
        except Cancelled:
            bare.end("cancelled")
        return bare.settled()

    def _run(self, row: RunRow, work: Work) -> None:
        pages = Committing(row, work)
        deletes = Deletes(row, work, pages)
        windows = Windows(row, work, pages, deletes, self.progress)
        run = work.run
        if run.kind == "replay":
            _replay(row, work, pages, deletes)
        elif run.window_start is not None and run.window_end is not None:
            if work.mark.at < run.window_end and work.stream.cursor is not None:
                row.note("window.clipped", _clipped(work.mark))
            window = asked_window(run.window_start, run.window_end, work.stream, work.mark)
            if window is not None:
                windows.asked(window)
        else:
            windows.live()
        row.end(_status(row.settled()))


def prepared(
    row: RunRow, connector: Connector, job: SyncJob, run: SyncRun, catalog: Catalog
) -> Work:
    """What the run works with, looked up in both systems.

    Raises SyncFailed when the job's entity, mapping and stream no longer fit each other.
    """
    entity = next((e for e in catalog if e.id == job.entity_id), None)
    if entity is None:
        raise SyncFailed(f"The entity {job.entity_name} is gone.")
    least = _Least(row)
    stream = connector.describe(job.source_entity)
    least.step()
    maps = _mapping(row, job, entity, catalog, stream)
    _check_names(job, entity, maps)
    mark = connector.safe_mark(stream)
    least.step()
    lag = (datetime.now(UTC) - mark.at).total_seconds()
    with row.database.transaction(row.tenant_id) as tx:
        tx.run(sync_runs.note_mark(row.tenant_id, row.run_id, mark.at, mark.source, lag))
        row.enter(tx, Counts(min_requests=least.count))
    digest = plan_digest(job, stream, maps)
    return Work(job, run, entity, catalog, stream, maps, mark, digest, connector)


class _Least:
    """What the calls that every run needs cost at least: one request each, where they make any."""

    def __init__(self, row: RunRow) -> None:
        self._row = row
        self._before = row.requests
        self.count = 0

    def step(self) -> None:
        self.count += min(1, self._row.requests - self._before)
        self._before = self._row.requests


def _mapping(
    row: RunRow, job: SyncJob, entity: Entity, catalog: Catalog, stream: Stream
) -> tuple[FieldMap, ...]:
    """The job's mapping, and a look at what changed in the stream since it was looked at last."""
    reading = Reading()
    remembered = job.stream_fields if isinstance(job.stream_fields, dict) else {}
    header = [field.name for field in stream.fields]
    maps = parse_mapping(
        job.field_mapping,
        entity=entity,
        catalog=catalog,
        header=[*header, *(name for name in remembered if name not in header)],
        reading=reading,
    )
    gone = sorted({column for m in maps for column in m.columns} - set(header))
    _report_drift(row, job, stream, maps, keep=bool(gone))
    if reading.faults:
        said = "; ".join(fault.detail for fault in reading.faults[:5])
        raise SyncFailed(f"The mapping of {job.name} does not fit any more: {said}.")
    if gone:
        raise SyncFailed(
            f"{stream.name} has no {', '.join(gone)} any more, which the mapping of {job.name}"
            " reads. Map something else, or have the field back; nothing was reset."
        )
    return maps


def _report_drift(
    row: RunRow, job: SyncJob, stream: Stream, maps: Sequence[FieldMap], *, keep: bool
) -> None:
    """Changes of the stream's form are for somebody to look at; they reset nothing. `keep`: go on
    comparing with what is remembered, for the run cannot go on."""
    form = form_of(stream)
    if job.stream_fields == form:
        return
    with row.database.transaction(row.tenant_id) as tx:
        for found in changes_of(job.stream_fields, stream, maps):
            tx.run(
                sync_dead_letters.report_drift(
                    row.tenant_id,
                    job.id,
                    row.run_id,
                    found.field,
                    found.change,
                    found.before,
                    found.after,
                    mapped=found.mapped,
                )
            )
        if not keep:
            tx.run(sync_jobs.note_stream(row.tenant_id, job.id, form))


def _check_names(job: SyncJob, entity: Entity, maps: Sequence[FieldMap]) -> None:
    if job.match_field is not None:
        by = entity.fields_by_name.get(job.match_field)
        filled = any(m.target == job.match_field for m in maps)
        if by is None or not by.unique or by.kind not in MATCHABLE or not filled:
            raise SyncFailed(
                f"{job.match_field} cannot match records of {entity.name}: it must be a unique"
                " field of text, integer or uuid that the mapping fills."
            )
    if job.delete_field is not None and job.delete_field not in entity.fields_by_name:
        raise SyncFailed(f"{entity.name} has no field {job.delete_field} to mark deletes in.")


def _replay(row: RunRow, work: Work, pages: Committing, deletes: Deletes) -> None:
    """Read the records of open dead letters as they are now, and try again."""
    after = ""
    while True:
        with row.database.transaction(row.tenant_id) as tx:
            keys = tx.all(sync_dead_letters.open_keys(row.tenant_id, work.job.id, after, FETCH))
        if not keys:
            return
        after = keys[-1]
        there = pages.fetch(keys, merge=True)
        ends = {key: work.mark.at for key in keys if key not in there}
        if ends and work.job.delete_policy != "ignore":
            deletes.apply(ends)


def _status(run: SyncRun) -> str:
    notes = run.notes if isinstance(run.notes, list) else []
    serious = any(isinstance(n, dict) and n.get("code") in _SERIOUS for n in notes)
    return "partial" if run.failed or serious else "success"


def _clipped(mark: Mark) -> str:
    return (
        f"What is newer than {mark.at.isoformat()} ({mark.source}) can still appear in the other"
        " system, so the window was read up to there."
    )


@contextmanager
def _transient() -> Iterator[None]:
    """A database that is gone, busy or in the way is worth another attempt."""
    try:
        yield
    except psycopg.Error as error:
        refused = unavailable(error)
        if refused is None:
            raise
        raise refused from error


def run_sync(
    database: Database,
    connect: Connect,
    tenant_id: UUID,
    run_id: UUID,
    *,
    dagster_run_id: str,
    still_held: Callable[[], None],
    progress: Callable[[SyncProgress], None],
) -> SyncRun:
    """Execute a run to its end, from its last committed page on; the run as it is then.

    `still_held` is called within each transaction right before its commit. Raises Unavailable or a
    VendorError whose recovery is RETRY when another attempt may do, SyncFailed or another
    VendorError (the run is settled as failed by then) when somebody must act, and what `still_held`
    raises. A cancelled run returns normally.
    """
    attempt = Inbound(database, connect, tenant_id, run_id, dagster_run_id, still_held, progress)
    with _transient():
        return attempt.execute()

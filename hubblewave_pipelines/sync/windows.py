"""Windows of a stream: read page by page from where an earlier attempt stopped, audited and closed."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from hubblewave_pipelines.core.stream import DeleteStrategy, ReadPlan, Window
from hubblewave_pipelines.storage import sync_jobs, sync_runs, sync_state
from hubblewave_pipelines.storage.sync_runs import Counts, WindowRead
from hubblewave_pipelines.storage.sync_state import Progress
from hubblewave_pipelines.sync.committing import Committing
from hubblewave_pipelines.sync.deletes import Deletes
from hubblewave_pipelines.sync.pages import PreparedPage
from hubblewave_pipelines.sync.planning import live_window, read_slices, stored_slices
from hubblewave_pipelines.sync.work import RunRow, SyncProgress, Work
from hubblewave_pipelines.transfer.ahead import ahead


class Windows:
    """Reads windows for one run."""

    def __init__(
        self,
        row: RunRow,
        work: Work,
        pages: Committing,
        deletes: Deletes,
        progress: Callable[[SyncProgress], None],
    ) -> None:
        self.row = row
        self.work = work
        self.pages = pages
        self.deletes = deletes
        self.progress = progress

    def live(self) -> None:
        """What an earlier run left open first, then from the mark on."""
        with self.row.database.transaction(self.row.tenant_id) as tx:
            left = tx.all(sync_state.open_progress(self.row.tenant_id, self.work.job.id, "live"))
        for at in left:
            if at.plan_digest == self.work.digest:
                self._window(at)
            else:  # made by another mapping: the window is read again from its start
                self._drop(at)
        job = self.row.job(self.work.job.id)
        window = live_window(job, self.work.stream, self.work.mark)
        if window is not None:
            self._window(self._begin("live", window))
        elif self.deletes.due():
            self.deletes.compare_keys()

    def asked(self, window: Window) -> None:
        """A window that somebody asked for; it fills coverage and never moves the mark."""
        self._window(self._begin("window", window))

    def _begin(self, scope: str, window: Window) -> Progress:
        """The progress of a window: where an earlier attempt stopped, or its start."""
        with self.row.database.transaction(self.row.tenant_id) as tx:
            begun = tx.all(sync_state.open_progress(self.row.tenant_id, self.work.job.id, scope))
        for at in begun:
            same = (at.low, at.high) == (window.low, window.high)
            if same and at.plan_digest == self.work.digest:
                return at
        work = self.work
        plan = work.connector.plan(work.stream, work.fields, window, filter=work.job.filter)
        return Progress(
            scope,
            window.low,
            window.high,
            work.digest,
            stored_slices(plan),
            mark=work.mark.at,
            mark_source=work.mark.source,
        )

    def _window(self, at: Progress) -> None:
        window = Window(at.low, at.high)
        with self.row.database.transaction(self.row.tenant_id) as tx:
            tx.run(sync_state.save_progress(self.row.tenant_id, self.work.job.id, at))
            alive = tx.one(sync_state.count_alive(self.row.tenant_id, self.work.job.id))
        first = not alive and at.slice_no == 0 and at.position is None
        at = self._read(at, window)
        deleted = self.deletes.bring(window, first=first)
        self._close(at, window, deleted, first=first)

    def _read(self, at: Progress, window: Window) -> Progress:
        """Every page of the window that is not here yet."""
        slices = read_slices(at.slices)
        work, prepare = self.work, self.pages.preparation.prepare
        plan = ReadPlan(work.stream, work.fields, slices, work.job.filter)
        echo = window if work.stream.cursor is not None else None

        def pages() -> Iterator[tuple[int, PreparedPage]]:
            position = at.position
            for number in range(at.slice_no, len(slices)):
                for page in work.connector.read(plan, slices[number], position):
                    yield number, prepare(page, echo)
                position = None

        with ahead(pages()) as made:
            for number, page in made:
                ended = page.page.position is None
                at = replace(
                    at,
                    slice_no=number + 1 if ended else number,
                    position=page.page.position,
                    rows=at.rows + page.rows,
                )
                self.progress(SyncProgress(window, self.pages.take(page, at)))
        return at

    def _close(self, at: Progress, window: Window, deleted: int, *, first: bool) -> None:
        """The window is whole: audit it, and let mark and coverage say so."""
        job, stream, tenant_id = self.work.job, self.work.stream, self.row.tenant_id
        before = self.row.requests
        remote = self.work.connector.count(stream, window, filter=job.filter)
        asked = min(1, self.row.requests - before)
        low, high = window.low, at.mark if stream.cursor is None else window.high
        mark = (high, at.mark_source or "") if at.scope == "live" and high is not None else None
        with self.row.database.transaction(tenant_id) as tx:
            self.row.hold(tx, job)
            local = tx.one(sync_state.count_known(tenant_id, job.id, low, window.high))
            read = WindowRead(self.row.run_id, 0, low, window.high, at.rows, deleted, remote, local)
            tx.run(sync_runs.insert_window(tenant_id, job.id, read))
            tx.run(sync_state.drop_progress(tenant_id, job.id, at.scope, at.low, at.high))
            tx.run(sync_jobs.cover(tenant_id, job.id, low, high, mark=mark))
            if first and stream.deletes is DeleteStrategy.SNAPSHOT and low is None:
                tx.run(sync_state.end_snapshot(tenant_id, job.id, job.generation))
            self.row.enter(tx, Counts(min_requests=asked))
            self.row.still_held()
        if remote is not None and local is not None and remote > local:
            shown = f"[{window.low or 'since ever'}, {window.high or 'now'})"
            self.row.note(
                "count.mismatch",
                f"The other system counts {remote} records in {shown}, and {local} are known here.",
            )

    def _drop(self, at: Progress) -> None:
        with self.row.database.transaction(self.row.tenant_id) as tx:
            job_id = self.work.job.id
            tx.run(sync_state.drop_progress(self.row.tenant_id, job_id, at.scope, at.low, at.high))

"""Deletes of a window by the strategy of its stream: a feed, or a listing of all keys, or none."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from hubblewave_pipelines.core.stream import DeleteStrategy, Window
from hubblewave_pipelines.storage import sync_state
from hubblewave_pipelines.storage.sync_jobs import SyncJob
from hubblewave_pipelines.storage.sync_runs import Counts
from hubblewave_pipelines.storage.sync_state import Progress
from hubblewave_pipelines.sync.committing import FETCH, Committing
from hubblewave_pipelines.sync.removing import BATCH, Remover, gone, too_many
from hubblewave_pipelines.sync.work import RunRow, Work


class Deletes:
    """Brings deletes over for one run."""

    def __init__(self, row: RunRow, work: Work, pages: Committing) -> None:
        self.row = row
        self.work = work
        self.pages = pages
        self._remover = Remover(work.job, row.run_id, work.entity)

    def bring(self, window: Window, *, first: bool) -> int:
        """Deletes of the window by the stream's strategy; how many records ended."""
        job, strategy = self.work.job, self.work.stream.deletes
        if strategy is DeleteStrategy.NONE or job.delete_policy == "ignore" or first:
            return 0
        whole = window.low is None or window.high is None
        if strategy is DeleteStrategy.FEED and not whole:
            ends, covered = self._feed(window)
            deleted, held = self.apply(ends)
            if held or (covered and not self._released()):
                return deleted
            return deleted + self.compare_keys()
        return self.compare_keys() if whole or self.due() else 0

    def _feed(self, window: Window) -> tuple[dict[str, datetime], bool]:
        """When each record of the window went, and whether the feed speaks for all of it."""
        ends: dict[str, datetime] = {}
        covered = True
        least = 0
        for page in self.work.connector.deletes(self.work.stream, window, None):
            covered = covered and page.covered
            least += page.min_requests
            for deleted in page.deleted:
                at = deleted.at or window.high or self.work.mark.at
                ends[deleted.key] = max(at, ends.get(deleted.key, at))
        self.row.count(Counts(min_requests=least))
        return ends, covered

    def apply(self, ends: Mapping[str, datetime], *, sure: bool = False) -> tuple[int, bool]:
        """Bring deletes over, or hold them back when they are too many and nobody is `sure`: how
        many records ended, and whether they are held.
        """
        keys, job = sorted(ends), self.work.job
        batches = [keys[n : n + BATCH] for n in range(0, len(keys), BATCH)]
        if not (sure or self.work.run.allow_deletes):
            with self.row.database.transaction(self.row.tenant_id) as tx:
                count = sum(
                    len(gone(tx, job, {key: ends[key] for key in batch}).known) for batch in batches
                )
                alive = tx.one(sync_state.count_alive(self.row.tenant_id, job.id)) or 0
            why = too_many(job, count, alive)
            if why is not None:
                self._hold_back(why, count)
                return 0, True
        deleted = 0
        for batch in batches:
            with self.row.database.transaction(self.row.tenant_id) as tx:
                self.row.hold(tx, job)
                counts = self._remover.remove(tx, {key: ends[key] for key in batch})
                stop = self.row.enter(tx, counts)
                self.row.still_held()
            self.row.stop_if(stop)
            deleted += counts.deleted
        return deleted, False

    def _hold_back(self, why: str, count: int) -> None:
        detail = f"{why}. None was; run the sync with allowDeletes when that is right."
        with self.row.database.transaction(self.row.tenant_id) as tx:
            tx.run(sync_state.hold_deletes(self.row.tenant_id, self.work.job.id, detail, count))
        self.row.note("delete_brake", detail)

    def due(self) -> bool:
        """Whether all keys are to be listed and compared now."""
        job = self.row.job(self.work.job.id)
        strategy = self.work.stream.deletes
        if strategy is DeleteStrategy.NONE or job.delete_policy == "ignore":
            return False
        if self._released():
            return True
        if strategy is not DeleteStrategy.SNAPSHOT:
            return False
        if self.work.run.kind == "window" or job.snapshot_at is None:
            return True
        age = datetime.now(UTC) - job.snapshot_at
        return age.total_seconds() >= job.snapshot_hours * 3600

    def _released(self) -> bool:
        """Deletes were held back before, and this run was told to make them."""
        return self.work.run.allow_deletes and _held(self.row.job(self.work.job.id))

    def compare_keys(self) -> int:
        """Compare with the listing of all keys: what is not in it went, what is only there is missing.

        Only a complete listing says anything, and before a record is taken for deleted it is asked
        for by its key. How many records ended.
        """
        job = self.row.job(self.work.job.id)
        with self.row.database.transaction(self.row.tenant_id) as tx:
            begun = tx.all(sync_state.open_progress(self.row.tenant_id, job.id, "keys"))
        at = next((found for found in begun if found.plan_digest == self.work.digest), None)
        if at is None:
            with self.row.database.transaction(self.row.tenant_id) as tx:
                tx.run(sync_state.forget_seen(self.row.tenant_id, job.id))
            at = Progress("keys", None, None, self.work.digest, [], mark=self.work.mark.at)
        generation, before = job.generation + 1, at.mark or self.work.mark.at
        if at.slice_no == 0:
            for page in self.work.connector.keys(self.work.stream, at.position, filter=job.filter):
                at = replace(at, position=page.position, rows=at.rows + len(page.keys))
                if page.position is None:
                    at = replace(at, slice_no=1)
                with self.row.database.transaction(self.row.tenant_id) as tx:
                    tx.run(sync_state.see_keys(self.row.tenant_id, job.id, generation, page.keys))
                    tx.run(sync_state.save_progress(self.row.tenant_id, job.id, at))
                    self.row.enter(tx, Counts(min_requests=page.min_requests))
                    self.row.still_held()
        deleted, held = self._settle(generation, before)
        if not held:
            with self.row.database.transaction(self.row.tenant_id) as tx:
                tx.run(sync_state.end_snapshot(self.row.tenant_id, job.id, generation))
        with self.row.database.transaction(self.row.tenant_id) as tx:
            tx.run(sync_state.forget_seen(self.row.tenant_id, job.id))
            tx.run(sync_state.drop_progress(self.row.tenant_id, job.id, "keys", None, None))
        return deleted

    def _settle(self, generation: int, before: datetime) -> tuple[int, bool]:
        """Act on a complete listing: how many records ended, and whether deletes are held back."""
        job, tenant_id = self.work.job, self.row.tenant_id
        with self.row.database.transaction(tenant_id) as tx:
            count = tx.one(sync_state.count_unseen(tenant_id, job.id, generation, before)) or 0
            alive = tx.one(sync_state.count_alive(tenant_id, job.id)) or 0
        why = None if self.work.run.allow_deletes else too_many(job, count, alive)
        deleted = 0
        if why is not None:
            self._hold_back(why, count)
        elif count:
            deleted = self._confirm(generation, before)
        if job.start_date is None:
            self._fetch_unknown(generation)
        return deleted, why is not None

    def _confirm(self, generation: int, before: datetime) -> int:
        """End what is not to be had by its key either; what is, goes on."""
        job, tenant_id, deleted, after = self.work.job, self.row.tenant_id, 0, ""
        while True:
            with self.row.database.transaction(tenant_id) as tx:
                keys = tx.all(
                    sync_state.unseen(tenant_id, job.id, generation, before, after, FETCH)
                )
            if not keys:
                return deleted
            after = keys[-1]
            there = self.pages.fetch(keys, merge=job.filter is None)
            ended, _ = self.apply({k: before for k in keys if k not in there}, sure=True)
            deleted += ended

    def _fetch_unknown(self, generation: int) -> None:
        """Read what the listing shows and no window has brought."""
        after = ""
        while True:
            with self.row.database.transaction(self.row.tenant_id) as tx:
                keys = tx.all(
                    sync_state.unknown(
                        self.row.tenant_id, self.work.job.id, generation, after, FETCH
                    )
                )
            if not keys:
                return
            after = keys[-1]
            self.pages.fetch(keys, merge=True)


def _held(job: SyncJob) -> bool:
    return isinstance(job.error, dict) and job.error.get("code") == "sync.delete_brake"

"""Pages of one run into the tables: each in one transaction with all that it changes."""

from collections.abc import Sequence
from dataclasses import replace

from hubblewave_pipelines.core.errors import Unavailable
from hubblewave_pipelines.storage import sync_state
from hubblewave_pipelines.storage.refusals import COLLISION
from hubblewave_pipelines.storage.sync_runs import Counts
from hubblewave_pipelines.storage.sync_state import Progress
from hubblewave_pipelines.sync.pages import PagePreparation, PreparedPage
from hubblewave_pipelines.sync.work import RunRow, Work
from hubblewave_pipelines.sync.writing import PageWriter

FETCH = 200  # records that are read strongly at a time
_COLLISIONS = 5  # attempts at a page that deadlocks with other writers
_POLITE = 2  # of these leave the other writers free; then they wait for one page


class Committing:
    """Commits the pages of one run, wherever they come from."""

    def __init__(self, row: RunRow, work: Work) -> None:
        self.row = row
        self.work = work
        self.preparation = PagePreparation(work.stream, work.entity, work.catalog, work.maps)
        self._writer = PageWriter(work.job, row.run_id, work.entity, work.catalog, work.maps)

    def take(self, page: PreparedPage, at: Progress | None, *, strong: bool = False) -> Counts:
        """Merge a page and note it in progress, shadow, dead letters and counts."""
        job = self.work.job
        for attempt in range(_COLLISIONS):
            try:
                with self.row.database.transaction(self.row.tenant_id) as tx:
                    self.row.hold(tx, job)
                    alone = attempt >= _POLITE
                    counts = self._writer.write(tx, page, strong=strong, alone=alone).counts
                    if at is not None:
                        tx.run(sync_state.save_progress(self.row.tenant_id, job.id, at))
                    counts = replace(counts, min_requests=page.page.min_requests)
                    stop = self.row.enter(tx, counts)
                    self.row.still_held()
                self.row.stop_if(stop)
                return counts
            except COLLISION as error:
                if attempt + 1 == _COLLISIONS:
                    raise Unavailable(
                        "Other writers keep locking the records of this sync.", retry_after=5
                    ) from error
        raise AssertionError("unreachable: the loop returns or raises")

    def fetch(self, keys: Sequence[str], *, merge: bool) -> set[str]:
        """Read records strongly and merge them; the keys of those that there are."""
        work = self.work
        page = replace(work.connector.fetch(work.stream, work.fields, keys), position=None)
        prepared = self.preparation.prepare(page)
        if merge and page.rows:
            self.take(prepared, None, strong=True)
        else:
            self.row.count(Counts(min_requests=page.min_requests))
        return set(prepared.keys)

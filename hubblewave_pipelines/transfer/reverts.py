"""One import taken back: batch by batch, so that a run killed at any instant just goes on."""

from collections.abc import Callable, Sequence
from uuid import UUID

from psycopg import errors as pg

from hubblewave_pipelines.core.entity import Entity
from hubblewave_pipelines.core.errors import ImportFailed
from hubblewave_pipelines.storage import imports, reverting, reverts
from hubblewave_pipelines.storage.catalog import load_catalog
from hubblewave_pipelines.storage.database import Database, Transaction
from hubblewave_pipelines.storage.reverts import Revert

BATCH = 5_000
_WHY = ((pg.ForeignKeyViolation, "referenced"), (pg.UniqueViolation, "unique"))


class _Reverting:
    """One attempt at one revert."""

    def __init__(
        self,
        database: Database,
        entity: Entity,
        revert: Revert,
        still_held: Callable[[], None],
        progress: Callable[[Revert], None],
    ) -> None:
        self.database = database
        self.entity = entity
        self.revert = revert
        self.still_held = still_held
        self.progress = progress
        self._moved = self._kept = 0

    def run(self) -> None:
        """Records go back first; what stands in the way, and what others wrote, is told then.

        A record may be free only when one that refers to it is gone, so passes are made until one
        changes nothing.
        """
        moved = kept = 1
        while moved and kept:
            with self.database.transaction(self.revert.tenant_id) as tx:
                tx.run(reverts.forget_kept(self.revert.tenant_id, self.revert.import_id))
            moved, kept = self._pass()
        seen: tuple[UUID, int] | None = None
        while (seen := self._tell(seen)) is not None:
            pass

    def _pass(self) -> tuple[int, int]:
        """Go once through what the import wrote last: how many went back, how many could not."""
        self._moved = self._kept = 0
        after: UUID | None = None
        while (after := self._batch(after)) is not None:
            pass
        return self._moved, self._kept

    def _batch(self, after: UUID | None) -> UUID | None:
        """Take a batch of records back; the last of them, or None when there are no more."""
        with self.database.transaction(self.revert.tenant_id) as tx:
            tx.run(reverting.act_as(self.revert.id))
            ids = tx.all(reverting.written_by(self.entity, self.revert.import_id, after, BATCH))
            if not ids:
                return None
            removed, restored = self._take_back(tx, ids)
            self._count(tx, removed, restored)
        self._moved += removed + restored
        self._kept += len(ids) - removed - restored
        return ids[-1]

    def _take_back(self, tx: Transaction, ids: Sequence[UUID]) -> tuple[int, int]:
        """How many were removed and restored; what PostgreSQL refuses is halved down to the record
        it is about, which is kept."""
        entity, import_id = self.entity, self.revert.import_id
        try:
            with tx.connection.transaction():
                restored = tx.run(reverting.restore_changed(entity, import_id, self.revert.id, ids))
                return tx.run(reverting.remove_made(entity, import_id, ids)), restored
        except (pg.IntegrityError, pg.DataError) as error:
            if len(ids) == 1:
                reason = next((why for kind, why in _WHY if isinstance(error, kind)), "rule")
                tx.run(reverts.keep(self.revert.tenant_id, import_id, ids, reason))
                return 0, 0
        middle = len(ids) // 2
        first = self._take_back(tx, ids[:middle])
        second = self._take_back(tx, ids[middle:])
        return first[0] + second[0], first[1] + second[1]

    def _tell(self, seen: tuple[UUID, int] | None) -> tuple[UUID, int] | None:
        """Note records that others wrote after the import; the place to go on from, or None."""
        with self.database.transaction(self.revert.tenant_id) as tx:
            found = tx.all(
                reverting.written_since(
                    self.entity, self.revert.import_id, self.revert.id, seen, BATCH
                )
            )
            if not found:
                return None
            for reason in ("edited", "deleted"):
                ids = list(dict.fromkeys(id_ for id_, _, why in found if why == reason))
                if ids:
                    tx.run(reverts.keep(self.revert.tenant_id, self.revert.import_id, ids, reason))
            self._count(tx, 0, 0)
        return found[-1][0], found[-1][1]

    def _count(self, tx: Transaction, removed: int, restored: int) -> None:
        self.still_held()
        counted = tx.one(
            reverts.count_reverted(
                self.revert.tenant_id, self.revert.id, removed=removed, restored=restored
            )
        )
        if counted is not None:
            self.progress(counted)


def run_revert(
    database: Database,
    tenant_id: UUID,
    revert_id: UUID,
    *,
    run_id: str,
    still_held: Callable[[], None],
    progress: Callable[[Revert], None] = lambda _: None,
) -> Revert:
    """Take an import back, or go on with it. `still_held` raises when the run lost its lease.

    Raises ImportFailed when the entity is gone or there is no such revert.
    """
    with database.transaction(tenant_id) as tx:
        revert = tx.one(reverts.start_revert(tenant_id, revert_id, run_id))
        if revert is None:
            raise ImportFailed("This revert is over, or there is none.")
        job = tx.one(imports.job_by_id(tenant_id, revert.import_id))
        catalog = load_catalog(tx, tenant_id)
    entity = next((e for e in catalog if job is not None and e.id == job.entity_id), None)
    if entity is None:
        raise ImportFailed("The entity of the import is gone.")
    _Reverting(database, entity, revert, still_held, progress).run()
    with database.transaction(tenant_id) as tx:
        still_held()
        ended = tx.one(reverts.end_revert(tenant_id, revert_id))
    if ended is None:
        raise ImportFailed("The revert was settled by another run.")
    return ended

"""Deletes of the other system, brought over set by set, after a brake has looked at how many they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg import errors as pg

from hubblewave_pipelines.core.entity import Entity
from hubblewave_pipelines.storage import sync_dead_letters, sync_records, sync_state
from hubblewave_pipelines.storage.database import Statement, Transaction, statement
from hubblewave_pipelines.storage.reverting import act_as
from hubblewave_pipelines.storage.sync_dead_letters import Refused
from hubblewave_pipelines.storage.sync_jobs import SyncJob
from hubblewave_pipelines.storage.sync_runs import Counts
from hubblewave_pipelines.storage.sync_state import Known, Learned
from hubblewave_pipelines.sync.learning import learn

BATCH = 2_000  # deletes in one transaction
_FEW = 10  # so many never trip the brake's percentage


@dataclass(frozen=True, slots=True)
class Gone:
    """What deletes a batch would make: records that are known and not newer than their end."""

    known: list[Known]
    unknown: list[str]  # never seen: remembered as deleted, so that no late page brings them


def too_many(job: SyncJob, count: int, alive: int) -> str | None:
    """Why deletes must wait for somebody's word; None when they are few enough."""
    if count > job.brake_rows:
        return f"{count} records would be deleted, and {job.brake_rows} are allowed at once"
    share = 100 * count / alive if alive else 0.0
    if count > _FEW and share > job.brake_percent:
        return (
            f"{count} of {alive} records ({share:.0f} %) would be deleted, and"
            f" {job.brake_percent:g} % are allowed at once"
        )
    return None


def gone(tx: Transaction, job: SyncJob, ends: Mapping[str, datetime]) -> Gone:
    """What the ends of these keys mean for what is known."""
    found = {k.key: k for k in tx.all(sync_state.known(job.id, list(ends)))}
    known = [
        k
        for k in found.values()
        if not k.deleted and (k.version is None or k.version <= ends[k.key])
    ]
    return Gone(known, [key for key in ends if key not in found])


class Remover:
    """Brings deletes over for one run of one job."""

    def __init__(self, job: SyncJob, run_id: UUID, entity: Entity) -> None:
        self.job = job
        self.run_id = run_id
        self.entity = entity

    def remove(self, tx: Transaction, ends: Mapping[str, datetime]) -> Counts:
        """The records of these keys end at these instants; the caller holds the job's row.

        A record that others refer to and that they keep is set aside, and stays.
        """
        job = self.job
        found = gone(tx, job, ends)
        refused = self._end(tx, [k for k in found.known if k.record_id is not None], ends)
        learned = [
            Learned(k.key, k.record_id, ends[k.key], None, deleted=True)
            for k in found.known
            if k.key not in refused
        ]
        learned += [Learned(key, None, ends[key], None, deleted=True) for key in found.unknown]
        learn(tx, job, self.run_id, learned)
        if tx.one(sync_dead_letters.has_open(job.tenant_id, job.id)):
            over = [one.key for one in learned]
            tx.run(sync_dead_letters.resolve_keys(job.tenant_id, job.id, over, "deleted"))
        if refused:
            letters = [_letter(k, ends[k.key]) for k in found.known if k.key in refused]
            tx.run(sync_dead_letters.set_aside(job.tenant_id, job.id, self.run_id, letters))
        deleted = len(found.known) - len(refused)
        return Counts(processed=len(found.known), deleted=deleted, failed=len(refused))

    def _end(
        self, tx: Transaction, found: Sequence[Known], ends: Mapping[str, datetime]
    ) -> set[str]:
        """Delete or mark the records; the keys of those that others keep."""
        if not found:
            return set()
        tx.run(act_as(self.run_id))
        tx.run(_lean())
        records = [k.record_id for k in found if k.record_id is not None]
        if self.job.delete_policy == "mark":
            if self.job.delete_field is not None:
                by = self.entity.fields_by_name[self.job.delete_field]
                for k in found:
                    assert k.record_id is not None
                    tx.run(
                        sync_records.mark(self.entity, by, [k.record_id], ends[k.key], self.run_id)
                    )
            return set()
        try:
            with tx.connection.transaction():
                tx.run(sync_records.remove(self.entity, records))
        except pg.ForeignKeyViolation:
            if len(found) == 1:
                return {found[0].key}
            middle = len(found) // 2
            return self._end(tx, found[:middle], ends) | self._end(tx, found[middle:], ends)
        return set()


def _lean() -> Statement[None]:
    """Records are found by their ids, however large the table."""
    return statement("set local enable_seqscan = off")


def _letter(k: Known, at: datetime) -> Refused:
    message = "the record is gone in the other system, and other records here refer to it"
    return Refused(
        key=k.key,
        version=at,
        payload={"deleted": True, "at": at.isoformat()},
        code="referenced",
        faults=[{"field": "", "code": "referenced", "message": message}],
    )

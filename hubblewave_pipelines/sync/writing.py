"""One page into the entity's table and into what is known of the other system, in one transaction.

What is older than what is known never overwrites it, and what is the same is not written. Records
that cannot be brought over are set aside; the others go on.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

import numpy as np
import pyarrow as pa

from hubblewave_pipelines.core.entity import Catalog, Entity, FieldKind
from hubblewave_pipelines.core.import_ids import record_ids
from hubblewave_pipelines.core.import_options import DuplicateStrategy, EmitEvents, ImportOptions
from hubblewave_pipelines.core.mapping import FieldMap
from hubblewave_pipelines.storage import sync_dead_letters, sync_records, sync_state
from hubblewave_pipelines.storage.database import Transaction
from hubblewave_pipelines.storage.merge_plan import plan_merge
from hubblewave_pipelines.storage.merging import ChunkMerge, RowFault
from hubblewave_pipelines.storage.sync_dead_letters import Refused
from hubblewave_pipelines.storage.sync_jobs import SyncJob
from hubblewave_pipelines.storage.sync_runs import Counts
from hubblewave_pipelines.storage.sync_state import Known, Learned
from hubblewave_pipelines.sync.learning import learn
from hubblewave_pipelines.sync.pages import PreparedPage
from hubblewave_pipelines.transfer.copy_rows import HEAD, TAIL, encode


@dataclass
class _Sorted:
    """What is to be done with the rows of a page, by index."""

    write: list[int] = field(default_factory=list)
    newer: list[int] = field(default_factory=list)  # the same content under a newer version
    refused: list[int] = field(default_factory=list)
    untouched: int = 0
    known: dict[str, Known] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Written:
    """`records`: the records that the page wrote or would have, by index of its row."""

    counts: Counts
    records: dict[int, UUID]
    refused: list[Refused]


class PageWriter:
    """Writes the pages of one run of one job."""

    def __init__(
        self, job: SyncJob, run_id: UUID, entity: Entity, catalog: Catalog, maps: Sequence[FieldMap]
    ) -> None:
        self.job = job
        self.run_id = run_id
        self.entity = entity
        self._maps = list(maps)
        options = ImportOptions(
            strategy=DuplicateStrategy.UPDATE, emit_events=EmitEvents(job.emit_events)
        )
        self._merge = ChunkMerge(plan_merge(run_id, entity, catalog, maps, options, by_id=True))

    def write(
        self, tx: Transaction, page: PreparedPage, *, strong: bool = False, alone: bool = False
    ) -> Written:
        """Merge a page; the caller holds the job's row in `tx`.

        `strong`: the records were read as they are now, so one that was taken for deleted is there
        again whatever its version says.
        """
        sorted_ = self._sort(tx, page, strong=strong)
        ids, faults = self._records(tx, page, sorted_)
        faulty = {fault.row - 1 for fault in faults}
        writable = [index for index in sorted_.write if index not in faulty]
        created = updated = unchanged = 0
        if writable:
            merged = self._merge.merge(
                tx,
                _encoded(page, writable, ids),
                range(1, page.rows + 1),
                head=HEAD,
                tail=TAIL,
                alone=alone,
            )
            faults += merged.faults
            created, updated, unchanged = merged.created, merged.updated, merged.unchanged
        faulty |= {fault.row - 1 for fault in faults}
        done = [index for index in writable if index not in faulty]
        self._learn(tx, page, sorted_, done, ids)
        letters = _letters(page, sorted_.refused, page.faults) + _letters(
            page, sorted(faulty), faults
        )
        if letters:
            tx.run(
                sync_dead_letters.set_aside(self.job.tenant_id, self.job.id, self.run_id, letters)
            )
        counts = Counts(
            processed=page.rows,
            created=created,
            updated=updated,
            unchanged=unchanged + sorted_.untouched + len(sorted_.newer),
            failed=len(letters),
        )
        return Written(counts, {index: ids[index] for index in done}, letters)

    def _sort(self, tx: Transaction, page: PreparedPage, *, strong: bool) -> _Sorted:
        found = _Sorted()
        found.known = {k.key: k for k in tx.all(sync_state.known(self.job.id, page.keys))}
        refused = {fault.row - 1 for fault in page.faults}
        for index in _latest(page):
            key, version = page.keys[index], page.versions[index]
            k = found.known.get(key)
            if k is not None and _older(version, k, strong=strong):
                continue
            if index in refused:
                found.refused.append(index)
            elif k is None or k.deleted or k.hash != page.hashes[index]:
                found.write.append(index)
            elif version != k.version and version is not None:
                found.newer.append(index)
        touched = len(found.write) + len(found.newer) + len(found.refused)
        found.untouched = page.rows - touched
        return found

    def _records(
        self, tx: Transaction, page: PreparedPage, found: _Sorted
    ) -> tuple[dict[int, UUID], list[RowFault]]:
        """The record of each row that is to be written: the one known for its key while that is
        there, one that holds its value of the match field, or a new one."""
        ids: dict[int, UUID] = {}
        had = {
            i: found.known[page.keys[i]].record_id
            for i in found.write
            if page.keys[i] in found.known
        }
        wanted = [record for record in had.values() if record is not None]
        there = set(tx.all(sync_records.present(self.entity, wanted))) if wanted else set()
        ids |= {i: record for i, record in had.items() if record is not None and record in there}
        missing = [index for index in found.write if index not in ids]
        faults = self._adopt(tx, page, missing, ids)
        numbers = np.array([index + 1 for index in missing if index not in ids], np.int64)
        octets = record_ids(numbers, unix_ms=time.time_ns() // 1_000_000)
        for number, made in zip(numbers.tolist(), octets, strict=True):
            ids[number - 1] = UUID(bytes=made.tobytes())
        return ids, faults

    def _adopt(
        self, tx: Transaction, page: PreparedPage, missing: Sequence[int], ids: dict[int, UUID]
    ) -> list[RowFault]:
        """Records that are here already under the same value of the job's match field."""
        name = self.job.match_field
        if name is None or not missing:
            return []
        by = self.entity.fields_by_name[name]
        place = next(n for n, m in enumerate(self._maps) if m.target == name)
        places = {int(number) - 1: n for n, number in enumerate(page.read.numbers)}
        values = page.read.arrays[place].take(pa.array([places[i] for i in missing])).to_pylist()
        if by.kind is FieldKind.UUID:
            values = [None if value is None else UUID(bytes=value) for value in values]
        given = [value for value in values if value is not None]
        records = dict(tx.all(sync_records.holding(self.entity, by, given))) if given else {}
        taken = dict(tx.all(sync_state.holders(self.job.id, list(records.values()))))
        faults = []
        for index, value in zip(missing, values, strict=True):
            record = records.get(value)
            if record is None:
                continue
            holder = taken.get(record)
            if holder is not None and holder != page.keys[index]:
                message = f'"{str(value)[:60]}" is the record of {holder} already'
                faults.append(RowFault(index + 1, name, "duplicate", message))
                ids[index] = record
                continue
            taken[record] = page.keys[index]
            ids[index] = record
        return faults

    def _learn(
        self,
        tx: Transaction,
        page: PreparedPage,
        found: _Sorted,
        done: Sequence[int],
        ids: dict[int, UUID],
    ) -> None:
        job = self.job
        learned = [Learned(page.keys[i], ids[i], page.versions[i], page.hashes[i]) for i in done]
        back = [ids[i] for i in done if (k := found.known.get(page.keys[i])) and k.deleted]
        for index in found.newer:
            k = found.known[page.keys[index]]
            learned.append(Learned(k.key, k.record_id, page.versions[index], k.hash))
        learn(tx, job, self.run_id, learned)
        if back and job.delete_policy == "mark" and job.delete_field is not None:
            by = self.entity.fields_by_name[job.delete_field]
            tx.run(sync_records.mark(self.entity, by, back, None, self.run_id))
        if tx.one(sync_dead_letters.has_open(job.tenant_id, job.id)):
            over = [one.key for one in learned]
            tx.run(sync_dead_letters.resolve_keys(job.tenant_id, job.id, over, "synced"))


def _older(version: object, known: Known, *, strong: bool) -> bool:
    """Whether what is known is newer; a delete is, also at the same instant."""
    if strong or version is None or known.version is None:
        return False
    assert isinstance(version, type(known.version))
    return version <= known.version if known.deleted else version < known.version


def _latest(page: PreparedPage) -> list[int]:
    """One row per key: the newest, the last of several that are equally new."""
    if len(set(page.keys)) == page.rows:
        return list(range(page.rows))
    best: dict[str, int] = {}
    for index, key in enumerate(page.keys):
        other = best.get(key)
        if other is not None:
            mine, theirs = page.versions[index], page.versions[other]
            if mine is not None and theirs is not None and mine < theirs:
                continue
        best[key] = index
    return sorted(best.values())


def _encoded(page: PreparedPage, indexes: Sequence[int], ids: dict[int, UUID]) -> memoryview:
    """Rows of the page in binary COPY form, under the ids of their records."""
    places = {int(number) - 1: n for n, number in enumerate(page.read.numbers)}
    chosen = pa.array([places[index] for index in indexes], pa.int64())
    numbers = pa.array([index + 1 for index in indexes], pa.int64())
    id_column = pa.array([ids[index].bytes for index in indexes], pa.binary(16))
    return encode([numbers, id_column, *(array.take(chosen) for array in page.read.arrays)])


def _letters(
    page: PreparedPage, indexes: Sequence[int], faults: Sequence[RowFault]
) -> list[Refused]:
    if not indexes:
        return []
    by_row: dict[int, list[RowFault]] = {}
    for fault in faults:
        by_row.setdefault(fault.row - 1, []).append(fault)
    return [
        Refused(
            key=page.keys[index],
            version=page.versions[index],
            payload=page.raw(index),
            code=by_row[index][0].code,
            faults=[
                {"field": fault.field, "code": fault.code, "message": fault.message}
                for fault in by_row[index]
            ],
        )
        for index in indexes
    ]

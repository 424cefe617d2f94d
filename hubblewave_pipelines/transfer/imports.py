"""One import from claim to outcome: chunks of the file, validated and merged, resumable.

Two things happen at once: a thread cuts and validates the next chunk while PostgreSQL merges this
one. Each chunk commits with its ledger row, its refused rows and the job's counts, so that an
import killed at any instant goes on after its last committed chunk. `onError: abort` runs in one
transaction: the first refused row undoes everything.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import psycopg

from hubblewave_pipelines.core.entity import Catalog, Entity, FieldKind
from hubblewave_pipelines.core.errors import ImportFailed, Unavailable
from hubblewave_pipelines.core.import_options import ImportOptions, OnError, parse_options
from hubblewave_pipelines.core.mapping import FieldMap, documents_of, parse_mapping
from hubblewave_pipelines.core.reading import Reading
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage import imports
from hubblewave_pipelines.storage.catalog import load_catalog
from hubblewave_pipelines.storage.database import Database, Transaction
from hubblewave_pipelines.storage.imports import ChunkEntry, ImportJob
from hubblewave_pipelines.storage.merge_plan import plan_merge
from hubblewave_pipelines.storage.merging import ChunkMerge, RowFault, refused_rows
from hubblewave_pipelines.storage.refusals import COLLISION, unavailable
from hubblewave_pipelines.transfer.ahead import ahead
from hubblewave_pipelines.transfer.apart import limits_of
from hubblewave_pipelines.transfer.chunks import Preparation, PreparedChunk
from hubblewave_pipelines.transfer.copy_rows import HEAD, TAIL
from hubblewave_pipelines.transfer.formats import BINARY, Source
from hubblewave_pipelines.transfer.opening import open_reader, source_of

_COLLISIONS = 5  # attempts at a chunk that deadlocks with other writers
_POLITE = 2  # of these leave the other writers free; then they wait for one chunk
_FIRST_ERRORS = 20


@dataclass(frozen=True, slots=True)
class ImportProgress:
    rows: int
    rejected: int
    bytes_done: int
    bytes_total: int


@dataclass(frozen=True, slots=True)
class ImportOutcome:
    """`total` is the sum of the other counts. `columns`: (public name, kind, source column)."""

    status: str  # completed, partial, failed or cancelled
    total: int
    created: int
    updated: int
    unchanged: int
    skipped: int
    failed: int
    entity_slug: str
    entity_name: str
    columns: list[tuple[str, str, str | None]]
    first_errors: list[tuple[int, str, str, str]]  # row, field, code, message


class _Cancelled(Exception):
    """Somebody asked for the import to stop."""


class _Aborted(Exception):
    """A row was refused in an import that must not refuse any."""

    def __init__(self, chunk: PreparedChunk, faults: list[RowFault]) -> None:
        super().__init__(faults[0].message)
        self.chunk = chunk
        self.faults = faults


@dataclass(frozen=True)
class _Plan:
    """Everything decided before the first row is read."""

    job: ImportJob
    entity: Entity
    catalog: Catalog
    source: Source
    maps: tuple[FieldMap, ...]
    options: ImportOptions


class _Import:
    """One attempt at one import."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        tenant_id: UUID,
        import_id: UUID,
        run_id: str,
        still_held: Callable[[], None],
        progress: Callable[[ImportProgress], None],
    ) -> None:
        self.database = database
        self.settings = settings
        self.tenant_id = tenant_id
        self.import_id = import_id
        self.run_id = run_id
        self.still_held = still_held
        self.progress = progress

    def run(self) -> ImportOutcome:
        with self.database.transaction(self.tenant_id) as tx:
            job = tx.one(imports.start_job(self.tenant_id, self.import_id, self.run_id))
            catalog = load_catalog(tx, self.tenant_id)
        if job is None:
            return self._settled(catalog)
        try:
            plan = self._plan(job, catalog)
            if plan.options.on_error is OnError.ABORT:
                self._all_or_nothing(plan)
            else:
                self._chunk_by_chunk(plan)
        except ImportFailed as error:
            self._end("failed", {"code": error.code, "detail": error.detail})
            raise
        except _Cancelled:
            self._end("cancelled")
        return self._settled(catalog)

    def _plan(self, job: ImportJob, catalog: Catalog) -> _Plan:
        entity = next((e for e in catalog if e.id == job.entity_id), None)
        if entity is None:
            raise ImportFailed(f"The entity {job.entity_name} is gone.")
        reading = Reading()
        options = parse_options(job.options, reading)
        source = source_of(job, options, limits_of(self.settings))
        maps = parse_mapping(
            job.mapping,
            entity=entity,
            catalog=catalog,
            header=source.columns,
            reading=reading,
            more=source.open,
        )
        if reading.faults:
            said = "; ".join(fault.detail for fault in reading.faults[:5])
            raise ImportFailed(f"{entity.name} has changed since the upload: {said}.")
        return _Plan(job, entity, catalog, source, maps, options)

    def _chunks(self, plan: _Plan, last: ChunkEntry | None) -> Iterator[PreparedChunk]:
        """The chunks after the last committed one, prepared ahead of their merge."""
        file = open_reader(
            Path(plan.job.spool_path),
            plan.source,
            limits_of(self.settings),
            columns=[column for m in plan.maps for column in m.columns],
            null_values=plan.options.null_values,
            documents=documents_of(plan.maps, plan.entity),
        )
        preparation = Preparation(
            plan.entity,
            plan.catalog,
            plan.maps,
            plan.options,
            typed=plan.source.format in BINARY,
        )
        chunks = file.chunks(
            chunk_rows=plan.options.batch_size or self.settings.import_chunk_rows,
            offset=None if last is None else last.offset_end,
            first_row=1 if last is None else last.first_row + last.rows,
        )
        return map(preparation.prepare, chunks)

    def _merge(self, plan: _Plan) -> ChunkMerge:
        return ChunkMerge(
            plan_merge(self.import_id, plan.entity, plan.catalog, plan.maps, plan.options)
        )

    def _chunk_by_chunk(self, plan: _Plan) -> None:
        with self.database.transaction(self.tenant_id) as tx:
            last = tx.one(imports.last_chunk(self.tenant_id, self.import_id))
        number = 0 if last is None else last.chunk_no + 1
        merge = self._merge(plan)
        self._stop_if_asked(plan.job)
        with ahead(self._chunks(plan, last)) as chunks:
            for chunk in chunks:
                job = self._commit(merge, chunk, number)
                number += 1
                self._report(job, plan)
                self._stop_if_asked(job)
        self._finish()

    def _commit(self, merge: ChunkMerge, chunk: PreparedChunk, number: int) -> ImportJob:
        """Merge a chunk and note it in ledger, refused rows and counts, in one transaction."""
        for attempt in range(_COLLISIONS):
            try:
                with self.database.transaction(self.tenant_id) as tx:
                    alone = attempt >= _POLITE
                    entry, faults = self._write(tx, merge, chunk, number, alone=alone)
                    self._set_aside(tx, chunk, faults)
                    job = self._enter(tx, [entry], chunk.source.bytes_done)
                    self.still_held()
                    return job
            except COLLISION as error:
                if attempt + 1 == _COLLISIONS:
                    raise Unavailable(
                        "Other writers keep locking the records of this import.", retry_after=5
                    ) from error
        raise AssertionError("unreachable: the loop returns or raises")

    def _write(
        self,
        tx: Transaction,
        merge: ChunkMerge,
        chunk: PreparedChunk,
        number: int,
        *,
        alone: bool = False,
    ) -> tuple[ChunkEntry, list[RowFault]]:
        within = range(chunk.first_row, chunk.source.next_row)
        merged = merge.merge(tx, chunk.rows, within, head=HEAD, tail=TAIL, alone=alone)
        faults = sorted([*chunk.faults, *merged.faults], key=lambda fault: fault.row)
        entry = ChunkEntry(
            chunk_no=number,
            offset_start=chunk.offset_start,
            offset_end=chunk.offset_end,
            first_row=chunk.first_row,
            rows=chunk.count,
            created=merged.created,
            updated=merged.updated,
            unchanged=merged.unchanged,
            skipped=merged.skipped,
            failed=refused_rows(faults),
        )
        return entry, faults

    def _set_aside(self, tx: Transaction, chunk: PreparedChunk, faults: list[RowFault]) -> None:
        if faults:
            raws = _raws(chunk, faults)
            tx.run(imports.insert_errors(self.tenant_id, self.import_id, faults, raws))

    def _enter(self, tx: Transaction, entries: list[ChunkEntry], bytes_done: int) -> ImportJob:
        """Ledger and counts. Raises _Cancelled when the job was settled meanwhile."""
        job: ImportJob | None = None
        for entry in entries:
            tx.run(imports.insert_chunk(self.tenant_id, self.import_id, self.run_id, entry))
            job = tx.one(imports.count_chunk(self.tenant_id, self.import_id, entry, bytes_done))
            if job is None:
                raise _Cancelled
        return job or self._job()

    def _all_or_nothing(self, plan: _Plan) -> None:
        try:
            self._whole(plan)
        except _Aborted as aborted:
            raise self._abort(aborted) from aborted

    def _whole(self, plan: _Plan) -> None:
        """All chunks in one transaction; nothing stays when a row is refused.

        The job row is not touched before the end, so that it can be read and cancelled meanwhile.
        """
        merge = self._merge(plan)
        self._stop_if_asked(plan.job)
        entries: list[ChunkEntry] = []
        rows = done = 0
        with (
            self.database.transaction(self.tenant_id) as tx,
            ahead(self._chunks(plan, None)) as made,
        ):
            for step in imports.forget_progress(self.tenant_id, self.import_id):
                tx.run(step)  # why an earlier attempt was given up
            for chunk in made:
                entry, faults = self._write(tx, merge, chunk, len(entries))
                if faults:
                    raise _Aborted(chunk, faults)
                entries.append(entry)
                rows, done = rows + entry.rows, chunk.source.bytes_done
                self.progress(ImportProgress(rows, 0, done, plan.job.file_size))
                with self.database.transaction(self.tenant_id) as beside:
                    noted = imports.note_bytes(self.tenant_id, self.import_id, done)
                    beside.run(noted)
                self._stop_if_asked(self._job())
            self._enter(tx, entries, done)
            tx.run(imports.end_job(self.tenant_id, self.import_id, "completed"))
            self.still_held()

    def _abort(self, aborted: _Aborted) -> ImportFailed:
        """Keep why nothing was kept: the faults of the first refused row."""
        first = aborted.faults[0]
        faults = [fault for fault in aborted.faults if fault.row == first.row]
        with self.database.transaction(self.tenant_id) as tx:
            self._set_aside(tx, aborted.chunk, faults)
        where = f"row {first.row}, {first.field}" if first.field else f"row {first.row}"
        return ImportFailed(f"Nothing was imported: {where}: {first.message}.", row=first.row)

    def _job(self) -> ImportJob:
        with self.database.transaction(self.tenant_id) as tx:
            job = tx.one(imports.job_by_id(self.tenant_id, self.import_id))
        if job is None:
            raise ImportFailed("The import was removed while it ran.")
        return job

    def _stop_if_asked(self, job: ImportJob) -> None:
        if job.cancel_requested:
            raise _Cancelled

    def _report(self, job: ImportJob, plan: _Plan) -> None:
        self.progress(ImportProgress(job.total, job.failed, job.bytes_done, plan.job.file_size))

    def _finish(self) -> None:
        self._end("partial" if self._job().failed else "completed")

    def _end(self, status: str, error: dict[str, str] | None = None) -> None:
        with self.database.transaction(self.tenant_id) as tx:
            tx.run(imports.end_job(self.tenant_id, self.import_id, status, error))
            self.still_held()

    def _settled(self, catalog: Catalog) -> ImportOutcome:
        """The outcome as the job row tells it, whoever settled it."""
        with self.database.transaction(self.tenant_id) as tx:
            job = tx.one(imports.job_by_id(self.tenant_id, self.import_id))
            if job is None:
                raise ImportFailed("There is no such import.")
            errors = tx.all(
                imports.refused_rows(self.tenant_id, self.import_id, limit=_FIRST_ERRORS)
            )
        entity = next((e for e in catalog if e.id == job.entity_id), None)
        return ImportOutcome(
            status=job.status,
            total=job.total,
            created=job.created,
            updated=job.updated,
            unchanged=job.unchanged,
            skipped=job.skipped,
            failed=job.failed,
            entity_slug=job.entity_name.lower() if entity is None else entity.slug,
            entity_name=job.entity_name if entity is None else entity.name,
            columns=[] if entity is None else _columns(entity, job.mapping),
            first_errors=[(e.row, e.field, e.code, e.message) for e in errors],
        )


def _columns(entity: Entity, mapping: object) -> list[tuple[str, str, str | None]]:
    """What the table holds, and which column of the file filled it."""
    maps = mapping if isinstance(mapping, list) else []
    sources = {m["targetField"]: m.get("sourceField") for m in maps}
    fields = [(f.name, f.kind.value, sources.get(f.name)) for f in entity.fields]
    kind = FieldKind.UUID.value
    return fields + [(name, kind, sources.get(name)) for name in entity.references]


def _raws(chunk: PreparedChunk, faults: list[RowFault]) -> list[str | None]:
    """The row as it is in the file, once per refused row."""
    found: list[str | None] = []
    before = 0
    for fault in faults:
        found.append(chunk.raw(fault.row) if fault.row != before else None)
        before = fault.row
    return found


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


def run_import(
    database: Database,
    settings: Settings,
    tenant_id: UUID,
    import_id: UUID,
    *,
    run_id: str,
    still_held: Callable[[], None],
    progress: Callable[[ImportProgress], None],
) -> ImportOutcome:
    """Run an import to its end, from its last committed chunk on.

    `still_held` is called within each chunk's transaction right before its commit. Raises
    Unavailable (recovery RETRY) when the database is away or busy, ImportFailed for a file that
    cannot be imported (the job is settled as failed by then), and what `still_held` raises. A
    cancelled import returns normally.
    """
    attempt = _Import(database, settings, tenant_id, import_id, run_id, still_held, progress)
    with _transient():
        return attempt.run()

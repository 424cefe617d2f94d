"""One export from claim to outcome: a query over one snapshot, into a file that is whole or not there."""

import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from hubblewave_pipelines.core.entity import Catalog, Entity
from hubblewave_pipelines.core.errors import ExportFailed, Invalid
from hubblewave_pipelines.core.export_formats import (
    GUARDED,
    SEPARATED,
    ExportOptions,
    Format,
    extension,
    parse_export_options,
)
from hubblewave_pipelines.core.export_request import Extract, parse_question
from hubblewave_pipelines.core.file_names import shown_name
from hubblewave_pipelines.core.reading import Reading
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage import exports, tenants
from hubblewave_pipelines.storage.catalog import load_catalog
from hubblewave_pipelines.storage.compiler import expected_rows
from hubblewave_pipelines.storage.database import Database
from hubblewave_pipelines.storage.exports import ExportJob, Published
from hubblewave_pipelines.storage.extract import Snapshot, copy_rows, current_snapshot
from hubblewave_pipelines.storage.refusals import refusing
from hubblewave_pipelines.transfer.ahead import ahead
from hubblewave_pipelines.transfer.destinations import deliver
from hubblewave_pipelines.transfer.export_file import Writing, writing
from hubblewave_pipelines.transfer.formula_guard import guarded
from hubblewave_pipelines.transfer.writers import WRITERS, Blocks

_BLOCK = 1 << 20  # bytes; four are under way at a time
_PARQUET_BLOCK = 16 << 20  # a row group
_LOOK_SECONDS = 1.0  # between looks at whether to go on


@dataclass(frozen=True, slots=True)
class ExportProgress:
    rows: int
    expected: int | None


@dataclass(frozen=True, slots=True)
class ExportOutcome:
    """`columns`: (name, kind). A cancelled export has no file."""

    status: str  # completed or cancelled
    rows: int
    size: int
    sha256: str
    path: str
    delivered_to: str | None
    format: str
    snapshot: str
    entity_name: str
    columns: list[tuple[str, str]]


class _Cancelled(Exception):
    """Somebody asked for the export to stop, or settled it."""


@dataclass(frozen=True)
class _Plan:
    """Everything decided before the first row is read."""

    job: ExportJob
    tenant: str
    extract: Extract
    format: Format
    options: ExportOptions


class _Export:
    """One attempt at one export."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        tenant_id: UUID,
        export_id: UUID,
        run_id: str,
        still_held: Callable[[], None],
        progress: Callable[[ExportProgress], None],
    ) -> None:
        self.database = database
        self.settings = settings
        self.tenant_id = tenant_id
        self.export_id = export_id
        self.run_id = run_id
        self.still_held = still_held
        self.progress = progress
        self.rows = 0

    def run(self) -> ExportOutcome:
        with self.database.transaction(self.tenant_id) as tx:
            job = tx.one(exports.start_job(self.tenant_id, self.export_id, self.run_id))
            catalog = load_catalog(tx, self.tenant_id)
            tenant = tx.one(tenants.tenant_by_id(self.tenant_id))
        if job is None or tenant is None:
            return self._settled()
        try:
            plan = self._plan(job, catalog, tenant.slug)
            return self._write(plan)
        except ExportFailed as error:
            self._end("failed", {"code": error.code, "detail": error.detail})
            raise
        except _Cancelled:
            self._end("cancelled")
            return self._settled()

    def _plan(self, job: ExportJob, catalog: Catalog, tenant: str) -> _Plan:
        entity = next((e for e in catalog if e.id == job.entity_id), None)
        if entity is None:
            raise ExportFailed(f"The entity {job.entity_name} is gone.")
        try:
            extract = parse_question(entity, job.query, catalog=catalog)
        except Invalid as error:
            raise ExportFailed(error.detail) from error
        chosen = Format(job.format)
        options = parse_export_options(job.options, chosen, Reading())
        return _Plan(job, tenant, extract, chosen, options)

    def _write(self, plan: _Plan) -> ExportOutcome:
        ending = extension(plan.format, plan.options.compression)
        # Of this run alone: two runs of one export, one of them lost, cannot meet in a file.
        path = self.settings.export_dir / f"{_plain(self.run_id)}-{self.export_id.hex}{ending}"
        name = file_name(plan.job, plan.extract.entity, plan.options, plan.format)
        inner = name.removesuffix(".zip").removesuffix(".gz")
        with writing(path, plan.options.compression, inner) as file:
            snapshot = self._rows(plan, file)
            self.still_held()
        manifest = _manifest(plan, snapshot, self.rows, file)
        try:
            delivered = deliver(self.settings, plan.tenant, plan.job, path, name, manifest)
            outcome = self._publish(plan, file, name, manifest, delivered)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        self.progress(ExportProgress(self.rows, self.rows))
        return outcome

    def _rows(self, plan: _Plan, file: Writing) -> Snapshot:
        """Write every row of one snapshot."""
        guards = plan.format in GUARDED and not plan.options.raw
        delimiter = plan.options.delimiter if plan.format in SEPARATED else ","
        statement = copy_rows(plan.extract, quoted=guards, delimiter=delimiter)
        block = _PARQUET_BLOCK if plan.format is Format.PARQUET else _BLOCK
        with self.database.snapshot(self.tenant_id) as tx:
            snapshot = tx.one(current_snapshot())
            expected = tx.one(expected_rows(plan.extract.entity, plan.extract.filter))
            if snapshot is None:
                raise AssertionError("a select without FROM has one row")
            with ahead(tx.copy_out(statement, block)) as made:
                blocks = _guarded(made, delimiter) if guards else made
                WRITERS[plan.format](
                    self._counted(blocks, _bounded(plan.extract, expected)),
                    [source.column for source in plan.extract.columns],
                    plan.options,
                    file.content,
                    file.path.parent,
                )
        return snapshot

    def _counted(self, blocks: Iterable[tuple[bytes, int]], expected: int | None) -> Iterator[Any]:
        """The blocks, with a look at the job once a second."""
        looked = 0.0
        for block in blocks:
            yield block
            self.rows += block[1]
            if time.monotonic() - looked > _LOOK_SECONDS:
                looked = time.monotonic()
                self._look(expected)

    def _look(self, expected: int | None) -> None:
        with self.database.transaction(self.tenant_id) as tx:
            stop = tx.one(
                exports.note_rows(self.tenant_id, self.export_id, self.run_id, self.rows, expected)
            )
        self.still_held()
        if stop is None or stop:
            raise _Cancelled
        self.progress(ExportProgress(self.rows, expected))

    def _publish(
        self,
        plan: _Plan,
        file: Writing,
        name: str,
        manifest: dict[str, Any],
        delivered: str | None,
    ) -> ExportOutcome:
        found = Published(
            path=str(file.path),
            name=name,
            size=file.size,
            sha256=file.sha256,
            rows=self.rows,
            manifest=manifest,
            delivered_to=delivered,
            kept_days=self.settings.export_days,
        )
        with self.database.transaction(self.tenant_id) as tx:
            job = tx.one(exports.publish_job(self.tenant_id, self.export_id, self.run_id, found))
            if job is None:
                raise _Cancelled
            self.still_held()
        return _outcome(job)

    def _end(self, status: str, error: dict[str, str] | None = None) -> None:
        with self.database.transaction(self.tenant_id) as tx:
            tx.run(exports.end_job(self.tenant_id, self.export_id, self.run_id, status, error))
            self.still_held()

    def _settled(self) -> ExportOutcome:
        """The outcome as the row tells it, whoever settled it."""
        with self.database.transaction(self.tenant_id) as tx:
            job = tx.one(exports.job_by_id(self.tenant_id, self.export_id))
        if job is None:
            raise ExportFailed("There is no such export.")
        if job.status == "failed":
            raise ExportFailed(str((job.error or {}).get("detail", "It has failed already.")))
        return _outcome(job)


def _guarded(blocks: Blocks, delimiter: str) -> Blocks:
    """A text in quotes is safe too where a spreadsheet expects another delimiter."""
    return ((guarded(block, delimiter), rows) for block, rows in blocks)


def _plain(run_id: str) -> str:
    return re.sub(r"[^0-9a-zA-Z-]", "", run_id)[:64]


def _bounded(extract: Extract, expected: int | None) -> int | None:
    if expected is None:
        return None
    left = max(expected - extract.offset, 0)
    return left if extract.limit is None else min(left, extract.limit)


def file_name(job: ExportJob, entity: Entity, options: ExportOptions, chosen: Format) -> str:
    """What people see; the file on disk is named by ids."""
    ending = extension(chosen, options.compression)
    if options.file_name is not None:
        name = shown_name(options.file_name, default=entity.slug)
        return name if name.lower().endswith(ending) else f"{name}{ending}"
    return f"{entity.slug}-{job.created_at:%Y%m%dT%H%M%SZ}{ending}"


def _manifest(plan: _Plan, snapshot: Snapshot, rows: int, file: Writing) -> dict[str, Any]:
    """What is in the file, for whoever gets it."""
    return {
        "entity": plan.extract.entity.name,
        "query": plan.job.query,
        "format": plan.format.value,
        "options": plan.options.as_json(),
        "formulaGuard": plan.format in GUARDED and not plan.options.raw,
        "columns": [
            {"name": source.column.name, "type": source.column.kind.value}
            for source in plan.extract.columns
        ],
        "rowCount": rows,
        "bytes": file.size,
        "sha256": file.sha256.hex(),
        "snapshot": {"xids": snapshot.visible, "at": snapshot.at.isoformat()},
    }


def _outcome(job: ExportJob) -> ExportOutcome:
    manifest = job.manifest or {}
    return ExportOutcome(
        status=job.status,
        rows=job.total or 0,
        size=job.file_size or 0,
        sha256=(job.file_sha256 or b"").hex(),
        path=job.file_path or "",
        delivered_to=job.delivered_to,
        format=job.format,
        snapshot=str(manifest.get("snapshot", {}).get("xids", "")),
        entity_name=job.entity_name,
        columns=[(c["name"], c["type"]) for c in manifest.get("columns", [])],
    )


def run_export(
    database: Database,
    settings: Settings,
    tenant_id: UUID,
    export_id: UUID,
    *,
    run_id: str,
    still_held: Callable[[], None],
    progress: Callable[[ExportProgress], None],
) -> ExportOutcome:
    """Run an export to its end. A killed attempt leaves no file that anybody can see.

    `still_held` is called before the file appears and before it is promised. Raises Unavailable
    (recovery RETRY) when the database is away or busy, ExportFailed for what cannot be written
    (the job is settled as failed by then), and what `still_held` raises. A cancelled export
    returns normally.
    """
    attempt = _Export(database, settings, tenant_id, export_id, run_id, still_held, progress)
    with refusing():
        return attempt.run()

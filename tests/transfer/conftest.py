"""Imports without API and Dagster: a file, an entity, and the engine between them."""

import itertools
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hubblewave_pipelines.core.entity import Catalog, Entity
from hubblewave_pipelines.core.export_request import parse_export
from hubblewave_pipelines.core.import_options import parse_options
from hubblewave_pipelines.core.mapping import as_json, parse_mapping
from hubblewave_pipelines.core.reading import Reading
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage import exports, imports, physical
from hubblewave_pipelines.storage.database import Database, statement
from hubblewave_pipelines.storage.ddl import define
from hubblewave_pipelines.storage.exports import ExportJob, NewExport
from hubblewave_pipelines.storage.imports import ImportJob, NewImport, RefusedRow
from hubblewave_pipelines.storage.tenants import Tenant
from hubblewave_pipelines.transfer.apart import Limits, inspect
from hubblewave_pipelines.transfer.exports import (
    ExportOutcome,
    ExportProgress,
    run_export,
)
from hubblewave_pipelines.transfer.imports import ImportOutcome, ImportProgress, run_import

_names = itertools.count()


def _unheld() -> None:
    """A lease that nobody takes away."""


@dataclass
class Importing:
    """One tenant's imports: `define`, `upload`, `run`, and what is in the tables afterwards."""

    owner: Database
    worker: Database
    tenant: Tenant
    directory: Path
    catalog: Catalog | None = None

    def define(self, *definitions: dict[str, Any]) -> Catalog:
        self.catalog = define(self.owner, self.tenant, *definitions)
        return self.catalog

    def entity(self, name: str) -> Entity:
        assert self.catalog is not None
        found = self.catalog.named(name)
        assert found is not None
        return found

    def upload(
        self, name: str, content: bytes | str | Path, mapping: Any = None, **options: Any
    ) -> uuid.UUID:
        """The job row that the API would write for this file."""
        entity = self.entity(name)
        assert self.catalog is not None
        if isinstance(content, Path):
            path = content
        else:
            path = self.directory / f"upload{next(_names)}.csv"
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        reading = Reading()
        parsed = parse_options(options, reading)
        source = inspect(path, path.name, parsed, Limits())
        maps = parse_mapping(
            mapping,
            entity=entity,
            catalog=self.catalog,
            header=source.columns,
            reading=reading,
            more=source.open,
        )
        assert not reading.faults, reading.faults
        new = NewImport(
            id=uuid.uuid4(),
            tenant_id=self.tenant.id,
            entity_id=entity.id,
            entity_name=entity.name,
            file_name="upload.csv",
            file_size=path.stat().st_size,
            file_type=source.format.value,
            file_sha256=b"not looked at",
            spool_path=str(path),
            mapping=as_json(maps),
            options=parsed.as_json(),
            detected=source.as_json(),
            created_by=uuid.uuid4(),
        )
        with self.worker.transaction(self.tenant.id) as tx:
            tx.run(imports.insert_job(new))
        return new.id

    def run(
        self,
        import_id: uuid.UUID,
        *,
        chunk_rows: int = 50_000,
        still_held: Callable[[], None] = _unheld,
        progress: Callable[[ImportProgress], None] = lambda _: None,
    ) -> ImportOutcome:
        return run_import(
            self.worker,
            Settings.model_validate({"import_chunk_rows": chunk_rows}),
            self.tenant.id,
            import_id,
            run_id="run-1",
            still_held=still_held,
            progress=progress,
        )

    def load(
        self,
        name: str,
        content: bytes | str | Path,
        mapping: Any = None,
        *,
        chunk_rows: int = 50_000,
        **options: Any,
    ) -> ImportOutcome:
        return self.run(self.upload(name, content, mapping, **options), chunk_rows=chunk_rows)

    def job(self, import_id: uuid.UUID) -> ImportJob:
        with self.worker.transaction(self.tenant.id) as tx:
            job = tx.one(imports.job_by_id(self.tenant.id, import_id))
        assert job is not None
        return job

    def refused(self, import_id: uuid.UUID) -> list[RefusedRow]:
        with self.worker.transaction(self.tenant.id) as tx:
            return tx.all(imports.refused_rows(self.tenant.id, import_id, limit=10_000))

    def records(self, name: str, *, version: bool = False) -> list[dict[str, Any]]:
        """Every record by public name, in order of creation."""
        entity = self.entity(name)
        columns = {n: c for n, c in entity.columns.items() if n not in ("createdAt", "updatedAt")}
        if not version:
            columns = {n: c for n, c in columns.items() if n not in ("id", "version")}
        listed = ", ".join(columns.values())
        query = f"select {listed} from {physical.qualified(entity)} order by id"
        with self.owner.transaction() as tx:
            rows = tx.all(statement(query))
        return [dict(zip(columns, row, strict=True)) for row in rows]

    def empty(self) -> None:
        """Remove every record and every import."""
        assert self.catalog is not None
        with self.owner.transaction() as tx:
            for entity in self.catalog:
                tx.run(statement(f"truncate {physical.qualified(entity)} cascade"))
            tx.run(statement("truncate hubblewave.import_jobs cascade"))


@pytest.fixture
def importing(
    owner_database: Database, worker_database: Database, tenant: Tenant, tmp_path: Path
) -> Importing:
    return Importing(owner_database, worker_database, tenant, tmp_path)


@dataclass
class Exporting:
    """One tenant's exports: `ask` for one, `run` it, and `file` to see what it wrote."""

    worker: Database
    tenant: Tenant
    importing: Importing
    settings: Settings

    def ask(self, name: str, format: str = "csv", **asked: Any) -> ExportJob:
        """The row that the API would write."""
        assert self.importing.catalog is not None
        body = {"entity": name, "format": format, **asked}
        wanted = parse_export(body, catalog=self.importing.catalog)
        new = NewExport(
            tenant_id=self.tenant.id,
            entity_id=wanted.extract.entity.id,
            entity_name=name,
            query=wanted.question,
            format=wanted.format.value,
            options=wanted.options.as_json(),
            destination=wanted.destination,
            created_by=uuid.uuid4(),
        )
        with self.worker.transaction(self.tenant.id) as tx:
            job = tx.one(exports.insert_job(new))
        assert job is not None
        return job

    def run(
        self,
        job: ExportJob,
        *,
        run_id: str = "run-1",
        still_held: Callable[[], None] = _unheld,
        progress: Callable[[ExportProgress], None] = lambda _: None,
    ) -> ExportOutcome:
        return run_export(
            self.worker,
            self.settings,
            self.tenant.id,
            job.id,
            run_id=run_id,
            still_held=still_held,
            progress=progress,
        )

    def file(self, name: str, format: str = "csv", **asked: Any) -> bytes:
        """What a finished export of the records wrote."""
        return Path(self.run(self.ask(name, format, **asked)).path).read_bytes()

    def job(self, export_id: uuid.UUID) -> ExportJob:
        with self.worker.transaction(self.tenant.id) as tx:
            job = tx.one(exports.job_by_id(self.tenant.id, export_id))
        assert job is not None
        return job

    @property
    def folder(self) -> Path:
        return self.settings.export_dir

    def on_disk(self) -> list[str]:
        """Names of all files of exports, finished or not."""
        return sorted(p.name for p in self.folder.glob("*")) if self.folder.exists() else []


@pytest.fixture
def exporting(
    worker_database: Database, tenant: Tenant, importing: Importing, tmp_path: Path
) -> Exporting:
    settings = Settings.model_validate({"data_dir": tmp_path / "data"})
    return Exporting(worker_database, tenant, importing, settings)

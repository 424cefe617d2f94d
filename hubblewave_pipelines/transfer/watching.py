"""Watched directories and bucket prefixes: what arrives there is imported, each version of a file once.

A file is left alone until it has stayed the same for a while; then it is copied to the spool, and
one transaction writes its import, the request for its run and the line of the ledger that keeps it
from being imported again.
"""

import fnmatch
import hashlib
import logging
import posixpath
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from fsspec import AbstractFileSystem

from hubblewave_pipelines.core.asset_keys import import_key
from hubblewave_pipelines.core.entity import Entity
from hubblewave_pipelines.core.errors import ImportFailed, Invalid, PlatformError
from hubblewave_pipelines.core.import_options import parse_options
from hubblewave_pipelines.core.reading import Reading
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage import imports, tenants, watches, work
from hubblewave_pipelines.storage.catalog import load_catalog
from hubblewave_pipelines.storage.database import Database
from hubblewave_pipelines.storage.imports import NewImport
from hubblewave_pipelines.storage.watches import Watch, WatchedFile
from hubblewave_pipelines.transfer.accepting import Arrival, accepted
from hubblewave_pipelines.transfer.apart import inspect, limits_of
from hubblewave_pipelines.transfer.destinations import opened, reaching
from hubblewave_pipelines.transfer.locations import NotAllowed, allowed

logger = logging.getLogger(__name__)
UNCHANGED = timedelta(seconds=5)
_UNFINISHED = (".tmp", ".part", ".partial", ".crdownload", ".filepart")
_FAULTS_SHOWN = 5
_MOST = 10_000  # files of one watch looked at per scan


@dataclass(frozen=True, slots=True)
class _Found:
    path: str
    version: str
    size: int


def scan(database: Database, settings: Settings, *, unchanged: timedelta = UNCHANGED) -> int:
    """Look at every active watch; how many imports were asked for.

    Needs a database that may see all tenants. Safe to call from several processes at once.
    """
    with database.transaction() as tx:
        active = tx.all(watches.active_watches())
    return sum(_Scan(database, settings, watch, unchanged).run() for watch in active)


class _Scan:
    """One look at one watch."""

    def __init__(
        self, database: Database, settings: Settings, watch: Watch, unchanged: timedelta
    ) -> None:
        self.database = database
        self.settings = settings
        self.watch = watch
        self.unchanged = unchanged

    def run(self) -> int:
        watch, error, asked = self.watch, None, 0
        try:
            with self.database.transaction(watch.tenant_id) as tx:
                tenant = tx.one(tenants.tenant_by_id(watch.tenant_id))
                catalog = load_catalog(tx, watch.tenant_id)
            entity = next((e for e in catalog if e.id == watch.entity_id), None)
            if tenant is None or entity is None:
                raise ImportFailed(f"The entity {watch.entity_name} is gone.")
            place = allowed(self.settings, tenant.slug, watch.url)
            with reaching(place):
                filesystem, folder = opened(self.settings, place)
                found = list(_files(filesystem, folder, watch.pattern))
            for file in self._ready({(f.path, f.version): f for f in found}):
                with reaching(place):
                    asked += self._import(filesystem, file, entity, tenant.slug)
        except (PlatformError, NotAllowed) as refused:
            error = str(refused)
        with self.database.transaction(watch.tenant_id) as tx:
            tx.run(watches.note_scan(watch.tenant_id, watch.id, error))
        return asked

    def _ready(self, present: dict[tuple[str, str], _Found]) -> list[WatchedFile]:
        """What is there for long enough, after noting what is there."""
        watch = self.watch
        with self.database.transaction(watch.tenant_id) as tx:
            for file in present.values():
                tx.run(
                    watches.note_file(watch.tenant_id, watch.id, file.path, file.version, file.size)
                )
            stable = tx.all(watches.stable_files(watch.tenant_id, watch.id, self.unchanged))
        return [file for file in stable if (file.path, file.version) in present]

    def _import(
        self, filesystem: AbstractFileSystem, file: WatchedFile, entity: Entity, slug: str
    ) -> bool:
        """Ask for the import of a version; False when it cannot be, or another process has it."""
        self.settings.spool.mkdir(mode=0o700, parents=True, exist_ok=True)
        local = self.settings.spool.resolve() / f"{uuid.uuid4().hex}.upload"
        kept = False
        try:
            filesystem.get_file(file.path, str(local))
            local.chmod(0o600)
            if _found(filesystem.info(file.path)).version != file.version:
                return False  # written to meanwhile; the new version has its own turn
            try:
                new = self._checked(local, file, entity)
            except PlatformError as refused:
                self._settle(file, None, refused.detail)
                return False
            kept = self._ask(new, file, import_key(slug, entity.slug))
            return kept
        finally:
            if not kept:
                local.unlink(missing_ok=True)

    def _checked(self, local: Path, file: WatchedFile, entity: Entity) -> NewImport:
        """The import job of a file. Raises PlatformError saying what is wrong with it."""
        watch, name = self.watch, posixpath.basename(file.path)
        source = inspect(
            local, name, parse_options(watch.options, Reading()), limits_of(self.settings)
        )
        with self.database.transaction(watch.tenant_id) as tx:
            catalog = load_catalog(tx, watch.tenant_id)
        with local.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").digest()
        try:
            return accepted(
                Arrival(
                    path=local,
                    name=name,
                    size=local.stat().st_size,
                    sha256=digest,
                    tenant_id=watch.tenant_id,
                    by=watch.created_by or watch.id,
                ),
                source,
                entity=entity,
                catalog=catalog,
                mapping=watch.mapping,
                options=watch.options,
                new_id=uuid.uuid4(),
            )
        except Invalid as invalid:
            shown = "; ".join(fault.detail for fault in invalid.faults[:_FAULTS_SHOWN])
            raise ImportFailed(shown) from invalid

    def _ask(self, new: NewImport, file: WatchedFile, key: list[str]) -> bool:
        """Job, request and ledger in one transaction: all of it once, or nothing."""
        watch = self.watch
        with self.database.transaction(watch.tenant_id) as tx:
            mine = tx.one(
                watches.settle_file(
                    watch.tenant_id, watch.id, file.path, file.version, import_id=new.id, error=None
                )
            )
            if mine is None:
                return False
            tx.one(imports.insert_job(new))
            tx.one(work.insert_request(watch.tenant_id, "import", new.id, key, watch.created_by))
        return True

    def _settle(self, file: WatchedFile, import_id: uuid.UUID | None, error: str | None) -> None:
        watch = self.watch
        logger.warning("%s of watch %s is not imported: %s", file.path, watch.id, error)
        with self.database.transaction(watch.tenant_id) as tx:
            tx.one(
                watches.settle_file(
                    watch.tenant_id,
                    watch.id,
                    file.path,
                    file.version,
                    import_id=import_id,
                    error=error,
                )
            )


def _files(filesystem: AbstractFileSystem, folder: str, pattern: str) -> Iterator[_Found]:
    """The files of a folder that bear a matching name; hidden and unfinished ones do not count."""
    listed: list[dict[str, Any]] = filesystem.ls(folder, detail=True)
    for entry in listed[:_MOST]:
        name = posixpath.basename(str(entry["name"]).rstrip("/"))
        hidden = name.startswith((".", "_")) or name.lower().endswith(_UNFINISHED)
        if entry["type"] != "file" or entry.get("islink") or hidden:
            continue
        if fnmatch.fnmatchcase(name, pattern):
            yield _found(entry)


def _found(entry: dict[str, Any]) -> _Found:
    """A version is what the store calls it, else the time of the last write and the size."""
    mark = entry.get("ETag") or entry.get("etag") or entry.get("md5")
    written = entry.get("mtime") or entry.get("LastModified") or entry.get("created") or ""
    return _Found(str(entry["name"]), f"{mark or written}-{entry['size']}", int(entry["size"] or 0))

"""Watches of directories and bucket prefixes, and the ledger of the files they have seen."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or_keep

from hubblewave_pipelines.core.entity import Json
from hubblewave_pipelines.storage.database import Statement, compiled
from hubblewave_pipelines.storage.tables import import_watch_files, import_watches

_w, _f = import_watches.c, import_watch_files.c


@dataclass(frozen=True, slots=True)
class Watch:
    id: UUID
    tenant_id: UUID
    entity_id: str
    entity_name: str
    url: str
    pattern: str
    mapping: Json  # as a client gave it; None: found from each file's columns
    options: Json
    active: bool
    last_scan_at: datetime | None
    last_error: str | None
    created_by: UUID | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class WatchedFile:
    path: str
    version: str
    size: int
    seen_at: datetime
    import_id: UUID | None
    error: str | None


_WATCH = (
    _w.id,
    _w.tenant_id,
    _w.entity_id,
    _w.entity_name,
    _w.url,
    _w.pattern,
    _w.mapping,
    _w.options,
    _w.active,
    _w.last_scan_at,
    _w.last_error,
    _w.created_by,
    _w.created_at,
)


def _watch(row: tuple[Any, ...]) -> Watch:
    return Watch(*row)


def insert_watch(
    tenant_id: UUID,
    *,
    entity_id: str,
    entity_name: str,
    url: str,
    pattern: str,
    mapping: Json,
    options: Json,
    created_by: UUID | None,
) -> Statement[Watch]:
    values = {
        "tenant_id": tenant_id,
        "entity_id": entity_id,
        "entity_name": entity_name,
        "url": url,
        "pattern": pattern,
        "mapping": mapping,
        "options": options,
        "created_by": created_by,
    }
    return compiled(insert(import_watches).values(**values).returning(*_WATCH), _watch)


def watch_by_id(tenant_id: UUID, watch_id: UUID) -> Statement[Watch]:
    query = select(*_WATCH).where(_w.tenant_id == tenant_id, _w.id == watch_id)
    return compiled(query, _watch)


def watches_of(tenant_id: UUID, *, limit: int, offset: int) -> Statement[Watch]:
    query = select(*_WATCH).where(_w.tenant_id == tenant_id)
    query = query.order_by(_w.created_at.desc(), _w.id.desc()).limit(limit).offset(offset)
    return compiled(query, _watch)


def count_watches(tenant_id: UUID) -> Statement[int]:
    query = select(func.count()).where(_w.tenant_id == tenant_id)
    return compiled(query, lambda row: int(row[0]))


def remove_watch(tenant_id: UUID, watch_id: UUID) -> Statement[Watch]:
    """Its ledger goes with it."""
    query = delete(import_watches).where(_w.tenant_id == tenant_id, _w.id == watch_id)
    return compiled(query.returning(*_WATCH), _watch)


def active_watches() -> Statement[Watch]:
    """Worker only: those of every tenant."""
    return compiled(select(*_WATCH).where(_w.active).order_by(_w.id), _watch)


def note_scan(tenant_id: UUID, watch_id: UUID, error: str | None) -> Statement[Any]:
    query = update(import_watches).where(_w.tenant_id == tenant_id, _w.id == watch_id)
    return compiled(query.values(last_scan_at=func.now(), last_error=error))


def note_file(
    tenant_id: UUID, watch_id: UUID, path: str, version: str, size: int
) -> Statement[Any]:
    """A version of a file is there; the first time it was seen is kept."""
    query = insert_or_keep(import_watch_files).values(
        tenant_id=tenant_id, watch_id=watch_id, path=path, version=version, size=size
    )
    return compiled(query.on_conflict_do_nothing())


def stable_files(tenant_id: UUID, watch_id: UUID, unchanged: timedelta) -> Statement[WatchedFile]:
    """Versions that were first seen `unchanged` ago or longer and that nothing was done about."""
    query = select(_f.path, _f.version, _f.size, _f.seen_at, _f.import_id, _f.error).where(
        _f.tenant_id == tenant_id,
        _f.watch_id == watch_id,
        _f.import_id.is_(None),
        _f.error.is_(None),
        _f.seen_at <= func.now() - unchanged,
    )
    return compiled(query.order_by(_f.seen_at, _f.path), lambda row: WatchedFile(*row))


def files_of(tenant_id: UUID, watch_id: UUID, *, limit: int) -> Statement[WatchedFile]:
    """What a watch has seen, newest first."""
    query = select(_f.path, _f.version, _f.size, _f.seen_at, _f.import_id, _f.error).where(
        _f.tenant_id == tenant_id, _f.watch_id == watch_id
    )
    query = query.order_by(_f.seen_at.desc(), _f.path).limit(limit)
    return compiled(query, lambda row: WatchedFile(*row))


def settle_file(
    tenant_id: UUID,
    watch_id: UUID,
    path: str,
    version: str,
    *,
    import_id: UUID | None,
    error: str | None,
) -> Statement[bool]:
    """What became of a version, once and for all; no row when that is settled already."""
    query = (
        update(import_watch_files)
        .where(
            _f.tenant_id == tenant_id,
            _f.watch_id == watch_id,
            _f.path == path,
            _f.version == version,
            _f.import_id.is_(None),
            _f.error.is_(None),
        )
        .values(import_id=import_id, error=error)
    )
    return compiled(query.returning(_f.path), lambda row: True)

"""The end of files: uploads that no import can need any more, exports whose time is over."""

import re
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from hubblewave_pipelines.storage import exports, tenants, uploads
from hubblewave_pipelines.storage.database import Database

_OURS = re.compile(r"[0-9a-f]{32}\.(?:upload|partial)")  # as the API names them
_EXPORTED = re.compile(r"[0-9a-zA-Z-]{1,64}-[0-9a-f]{32}\.[a-z0-9.]+(?:\.tmp)?")
_UNKNOWN_SECONDS = 24 * 3600  # an upload in progress has no row yet
_BATCH = 1_000


@dataclass(frozen=True, slots=True)
class Cleared:
    """What one round removed: files of ended imports, files no import knows, and their bytes."""

    spent: int = 0
    unknown: int = 0
    size: int = 0

    def __add__(self, other: "Cleared") -> "Cleared":
        return Cleared(
            self.spent + other.spent, self.unknown + other.unknown, self.size + other.size
        )


def clear_spool(database: Database, spool: Path, *, keep: timedelta) -> Cleared:
    """Remove uploads of imports that ended longer than `keep` ago, and day-old ones of no import.

    Touches only files that bear a name the API gives; others may share the directory. Needs a
    database that may see all tenants. Safe beside running imports, uploads and retries.
    """
    if not spool.is_dir():
        return Cleared()
    ours = sorted(path for path in spool.resolve().iterdir() if _OURS.fullmatch(path.name))
    with database.transaction() as tx:
        everyone = [tenant.id for tenant in tx.all(tenants.all_tenants())]
    cleared = Cleared()
    for first in range(0, len(ours), _BATCH):
        names = [str(path) for path in ours[first : first + _BATCH]]
        unknown: set[str] = set(names)
        for tenant_id in everyone:
            with database.transaction(tenant_id) as tx:
                known = tx.all(uploads.known_uploads(tenant_id, names))
                unknown -= set(known)
                for name in tx.all(uploads.spent_uploads(tenant_id, names, keep)):
                    cleared += Cleared(spent=1, size=_remove(Path(name)))
        for path in map(Path, sorted(unknown)):
            if _age(path) > _UNKNOWN_SECONDS:
                cleared += Cleared(unknown=1, size=_remove(path))
    return cleared


def clear_exports(
    database: Database, folder: Path, *, unknown_seconds: float = _UNKNOWN_SECONDS
) -> Cleared:
    """Remove exported files whose time is over, and day-old ones that no export promises: those
    of runs that died.

    Touches only files that bear a name a run gives. Needs a database that may see all tenants.
    Safe beside running exports and downloads.
    """
    if not folder.is_dir():
        return Cleared()
    with database.transaction() as tx:
        everyone = [tenant.id for tenant in tx.all(tenants.all_tenants())]
    cleared = Cleared()
    for tenant_id in everyone:
        with database.transaction(tenant_id) as tx:
            for name in tx.all(exports.expire_files(tenant_id)):
                cleared += Cleared(spent=1, size=_remove(Path(name)))
    ours = [path for path in sorted(folder.resolve().iterdir()) if _EXPORTED.fullmatch(path.name)]
    old = [path for path in ours if _age(path) > unknown_seconds]
    for first in range(0, len(old), _BATCH):
        names = [str(path) for path in old[first : first + _BATCH]]
        strays: set[str] = set(names)
        for tenant_id in everyone:
            with database.transaction(tenant_id) as tx:
                known = tx.all(exports.known_files(tenant_id, names))
                strays -= set(known)
        for name in sorted(strays):
            cleared += Cleared(unknown=1, size=_remove(Path(name)))
    return cleared


def _age(path: Path) -> float:
    """Seconds since the last write; 0 when the file went away meanwhile."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0


def _remove(path: Path) -> int:
    """The bytes set free."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return 0  # another round of this job was quicker
    path.unlink(missing_ok=True)
    return size

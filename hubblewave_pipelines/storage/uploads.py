"""Which uploaded files the imports of a tenant know, and which of them they need no more."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import func, select

from hubblewave_pipelines.storage.database import Statement, compiled
from hubblewave_pipelines.storage.imports import OPEN
from hubblewave_pipelines.storage.tables import import_jobs

_j = import_jobs.c


def known_uploads(tenant_id: UUID, paths: Sequence[str]) -> Statement[str]:
    """Those of `paths` that an import of the tenant came with, whatever became of it."""
    query = select(_j.spool_path).where(_j.tenant_id == tenant_id, _j.spool_path.in_(paths))
    return compiled(query, lambda row: row[0])


def spent_uploads(tenant_id: UUID, paths: Sequence[str], kept: timedelta) -> Statement[str]:
    """Those of `paths` whose import ended longer than `kept` ago.

    The jobs stay locked until the commit: remove the files before it, and an import that is
    retried at this moment either keeps its file or finds it gone.
    """
    query = select(_j.spool_path).where(
        _j.tenant_id == tenant_id,
        _j.spool_path.in_(paths),
        _j.status.not_in(OPEN),
        _j.completed_at < func.now() - kept,
    )
    return compiled(query.with_for_update(), lambda row: row[0])

"""How long replaced versions are kept: those that ended earlier are removed, some thousand at a time."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import select

from hubblewave_pipelines.core.entity import Entity
from hubblewave_pipelines.core.feed import Place
from hubblewave_pipelines.storage.database import Database, Statement, compiled, statement
from hubblewave_pipelines.storage.tables import entities

_CHUNK = 5_000
_Place = tuple[UUID, int]

# Of an entity: where, in the order of commits, the last deletion and the last version that are gone
# were written; a text for `removed_until`.
DELETIONS_GONE = (
    "(select changes_since || ' ' || changes_since_id from hubblewave.entities where id = %s)"
)
VERSIONS_GONE = (
    "(select versions_since || ' ' || versions_since_id from hubblewave.entities where id = %s)"
)


def removed_until(text: str | None) -> Place | None:
    """The place up to which something is gone: whoever has reached it has missed nothing. None when
    all is there."""
    if text is None:
        return None
    xid, record_id = text.split(" ")
    return Place(int(xid), UUID(record_id))


def _every_entity() -> Statement[str]:
    """The ids of all tenants' entities; for the worker."""
    return compiled(select(entities.c.id).order_by(entities.c.id), lambda row: str(row[0]))


def _trim(entity_id: str, before: datetime, after: _Place) -> Statement[tuple[_Place | None, int]]:
    """The place to go on from, None at the end, and how many versions went."""
    return statement(
        "select last_id, last_n, gone from hubblewave.trim_history(%s, %s, %s, %s, %s)",
        (entity_id, before, *after, _CHUNK),
        lambda row: (None if row[0] is None else (row[0], row[1]), row[2]),
    )


def trim_history(worker: Database, before: datetime) -> int:
    """Remove what ended before an instant, of every entity; how many versions went.

    Each chunk is a transaction of its own. What is left is read as ever; what would need the rest
    (a token of the change feed, an `asOf`) is refused from then on.
    """
    with worker.transaction() as tx:
        ids = tx.all(_every_entity())
    removed = 0
    for entity_id in ids:
        place: _Place | None = (UUID(int=0), 0)
        while place is not None:
            with worker.transaction() as tx:
                found = tx.one(_trim(entity_id, before, place))
            place, gone = (None, 0) if found is None else found
            removed += gone
    return removed


def kept_since(entity: Entity) -> Statement[datetime | None]:
    """Versions that ended before this instant are gone; None when all are there."""
    query = select(entities.c.history_since).where(entities.c.id == entity.id)
    return compiled(query, lambda row: row[0])

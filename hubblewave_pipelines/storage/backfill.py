"""Filling a new column of existing rows, a batch per transaction, without standing in anyone's way.

A batch takes no more time than a request. Rows that somebody else is writing are left out at first:
the write fills them itself, or it ends without one and the second pass finds them.
"""

# ruff: noqa: S608 - only physical names that `identifier` has checked are formatted in

from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID

from hubblewave_pipelines.core.entity import Entity
from hubblewave_pipelines.storage.database import Transaction, statement
from hubblewave_pipelines.storage.physical import identifier, qualified
from hubblewave_pipelines.storage.steps import Backfill

_BATCH = 2_000  # rows; some 30 ms
# No version and no event comes of it: what the triggers look at.
_QUIETLY = (
    "select set_config('hubblewave.backfill', 'on', true),"
    " set_config('hubblewave.events', 'off', true)"
)

Run = Callable[[Callable[[Transaction], Any]], Any]  # does work in a transaction, patiently


def fill(entity: Entity, wanted: Backfill, run: Run) -> None:
    """Fill the column of every row. Safe to begin again at any point.

    The rows keep version, time and place in the change feed: no value of theirs is another one.
    """
    for waiting in (False, True):
        last: UUID | None = UUID(int=0)
        while last is not None:
            last = run(partial(_batch, entity, wanted, last, waiting))


def _batch(
    entity: Entity, wanted: Backfill, after: UUID, waiting: bool, tx: Transaction
) -> UUID | None:
    """Fill one batch of rows; the id it ends with, None when there are no more."""
    table, source = qualified(entity), identifier(wanted.source)
    column = identifier(wanted.column)
    ids = tx.one(
        statement(
            "select (array_agg(id order by id desc))[1] from ("
            f"select id from {table} where id > %s order by id limit {_BATCH}) b",
            (after,),
        )
    )
    last: UUID | None = None if ids is None else ids[0]
    if last is None:
        return None
    empty = f"{source} is not null and {column} is null"
    lock = "for no key update" + ("" if waiting else " skip locked")
    tx.one(statement(_QUIETLY))
    value = wanted.value.replace("%", "%%")
    tx.run(
        statement(
            f"with b as materialized (select id from {table} where id > %s and id <= %s and {empty}"
            f" order by id {lock}) update {table} set {column} = {value}"
            f" from b where {table}.id = b.id",
            (after, last),
        )
    )
    return last

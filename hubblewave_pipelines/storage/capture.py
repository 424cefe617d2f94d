"""Which entities' changes become events: the triggers on their tables follow the webhooks there are.

The triggers with their transition tables cost an import of new rows time, so they are there only
while some webhook wants the entity's records. They are put on before the webhook that wants them is
committed and taken off afterwards, both under the tenant's row lock, which every change of a
definition takes too.
"""

import random
import time
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from psycopg import errors

from hubblewave_pipelines.core.errors import Unavailable
from hubblewave_pipelines.core.event_types import VERBS, wants_records_of
from hubblewave_pipelines.storage.database import Database, Statement, Transaction, statement
from hubblewave_pipelines.storage.physical import identifier, spelled

_LOCK_TIMEOUT = "200ms"  # a queued CREATE TRIGGER holds up every later writer
_PATIENCE = 20.0  # seconds
_EVENT = {"created": "insert", "updated": "update", "deleted": "delete"}
_ROWS = {"created": "new", "updated": "new", "deleted": "old"}


def _entities(tenant_id: UUID) -> Statement[tuple[str, str, str, bool]]:
    """(entity id, name, schema, whether its table has the triggers)."""
    return statement(
        "select e.id, e.name, t.schema_name, exists (select from pg_trigger g"
        " join pg_class c on c.oid = g.tgrelid join pg_namespace n on n.oid = c.relnamespace"
        " where n.nspname = t.schema_name and c.relname = 'e_' || e.id and g.tgname = 'tell_created')"
        " from hubblewave.entities e join hubblewave.tenants t on t.id = e.tenant_id"
        " where e.tenant_id = %s order by e.id",
        (tenant_id,),
        lambda row: (row[0], row[1], row[2], row[3]),
    )


def _patterns(tenant_id: UUID) -> Statement[list[str]]:
    """What the tenant's webhooks ask for. One that the platform disabled still collects."""
    return statement(
        "select coalesce(array_agg(distinct p), '{}') from hubblewave.webhooks w, unnest(w.events) p"
        " where w.tenant_id = %s and w.active",
        (tenant_id,),
        lambda row: list(row[0]),
    )


def _hold(tenant_id: UUID) -> Statement[UUID]:
    return statement(
        "select id from hubblewave.tenants where id = %s for no key update",
        (tenant_id,),
        lambda row: row[0],
    )


def silence() -> Statement[Any]:
    """Nothing that is written from here to the end of the transaction becomes an event."""
    return statement("set local hubblewave.events = 'off'")


def _switch(schema: str, entity_id: str, *, on: bool) -> list[str]:
    table = f"{identifier(schema)}.{identifier('e_' + entity_id)}"
    if not on:
        return [f"drop trigger if exists tell_{verb} on {table}" for verb in VERBS]
    return [
        f"create trigger tell_{verb} after {_EVENT[verb]} on {table}"
        f" referencing {_ROWS[verb]} table as written"
        " for each statement execute function hubblewave.capture_events()"
        for verb in VERBS
    ]


def follow_webhooks(tx: Transaction, tenant_id: UUID, wanted: Iterable[str] = ()) -> list[str]:
    """Bring the triggers in line with the tenant's webhooks and the patterns `wanted` besides.

    For a transaction of the owner; answers the ids of the entities whose triggers changed.
    """
    tx.one(_hold(tenant_id))
    patterns = {*wanted, *(tx.one(_patterns(tenant_id)) or ())}
    changed = []
    for entity_id, name, schema, present in tx.all(_entities(tenant_id)):
        needed = wants_records_of(patterns, name)
        if needed != present:
            for text in _switch(schema, entity_id, on=needed):
                tx.run(spelled(text))
            changed.append(entity_id)
    return changed


def capture(owner: Database, tenant_id: UUID, wanted: Iterable[str] = ()) -> list[str]:
    """`follow_webhooks` in a transaction of its own, again and again while tables are in use.

    Call it with the events of a webhook before that is stored, and without after one has changed
    or gone. Raises Unavailable when a table stays in use for 20 s. Blocks: call it in a thread.
    """
    patterns = tuple(wanted)
    until, wait = time.monotonic() + _PATIENCE, 0.05
    while True:
        try:
            with owner.transaction() as tx:
                tx.run(statement(f"set local lock_timeout = '{_LOCK_TIMEOUT}'"))
                return follow_webhooks(tx, tenant_id, patterns)
        except (errors.LockNotAvailable, errors.DeadlockDetected) as busy:
            if time.monotonic() > until:
                raise Unavailable(
                    "An entity's table is in use by a long import or query, so its events cannot be "
                    "switched on. Try again later.",
                    retry_after=30,
                ) from busy
            time.sleep(wait * random.uniform(0.5, 1.5))  # noqa: S311 - spreads retries
            wait = min(wait * 2, 1.0)

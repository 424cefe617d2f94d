"""Keeping writers out who know an older definition, where the table itself does not know its rules.

The trigger comes with the step that publishes the rule, whose lock waits for every writer of the
table; the rows they wrote meanwhile are looked at then. It stays until another rule replaces it,
because an import goes on by the definition it began with for as long as it takes.
"""

from hubblewave_pipelines.core.entity import Entity
from hubblewave_pipelines.storage.database import Statement, Transaction, statement
from hubblewave_pipelines.storage.physical import identifier, qualified


def guard(entity: Entity, version: int) -> str:
    """The trigger that refuses who knows only what was before `version` of the definitions."""
    return (
        f"create or replace trigger {identifier('g_' + entity.id)} before insert or update on "
        f"{qualified(entity)} for each row when (hubblewave.known_catalog() < {int(version)}) "
        "execute function hubblewave.refuse_stale()"
    )


def know_catalog(version: int) -> Statement[None]:
    """The rest of the transaction writes by this version of the definitions. Requests have said so
    with their credential."""
    text = "select set_config('hubblewave.catalog', %s, true)"
    return statement(text, (str(version),), lambda _: None)


def horizon(tx: Transaction) -> int:
    """Every row with a lower xid can be seen from here on."""
    row = tx.one(statement("select pg_snapshot_xmin(pg_current_snapshot())::text"))
    return 0 if row is None else int(row[0])

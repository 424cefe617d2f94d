"""The table of an entity's replaced versions, and the triggers that fill it.

An insert writes nothing here. An update or delete, a cascade's too, adds its rows in one INSERT per
statement; the functions behind the triggers are in revisions 0003 and 0014.
"""

from hubblewave_pipelines.core.entity import Entity
from hubblewave_pipelines.storage.conversions import conversion
from hubblewave_pipelines.storage.physical import SQL_TYPES, guarded, identifier, qualified


def history_table(entity: Entity) -> str:
    return f"{identifier(entity.schema)}.{identifier('h_' + entity.id)}"


def former(entity: Entity, record: str) -> str:
    """A row of the entity's table as the history's jsonb `record` has it.

    What a field held under an earlier type is shown as a value of its present type, or not at all
    where it has none.
    """
    table, pairs = qualified(entity), []
    for field in entity.fields:
        if not field.earlier:
            continue
        kinds = (*field.earlier, field.kind)
        value = ""
        for number, kind in enumerate(kinds):
            name = f"c_{field.id}_{number}" if number else f"c_{field.id}"
            held = f"({record} ->> '{name}')::{SQL_TYPES[kind]}"
            step = conversion(kinds[number - 1], kind) if number else None
            value = held if step is None else f"coalesce({held}, {step.of(value)})"
        pairs.append(f"'{field.column}', {value}")
    if pairs:
        record = f"{record} || jsonb_build_object({', '.join(pairs)})"
    return f"jsonb_populate_record(null::{table}, {record})"


def create_history(entity: Entity, tenant_id: str) -> list[str]:
    """Statements for an entity whose table was just made. The app role may only read history."""
    table, history = qualified(entity), history_table(entity)
    keep = "for each statement execute function hubblewave.keep_replaced()"
    return [
        f"create table {history} (\n"
        "  n bigint generated always as identity,\n"  # the order of a record's versions
        "  id uuid not null,\n"
        "  version bigint not null,\n"
        "  deleted_at timestamptz,\n"  # null: this version ended by an update
        "  deleted_by uuid,\n"
        "  xid xid8 not null default pg_current_xact_id(),\n"  # the transaction that ended it
        "  record jsonb not null,\n"  # the whole row, by physical column
        # The transaction that wrote it. A column, because row security keeps the planner from an
        # index on an expression.
        "  written xid8 generated always as ((record->>'xid')::xid8) stored,\n"
        "  primary key (id, n)\n)",
        f"create index {identifier('h_' + entity.id + '_deleted')} on {history} (xid, id) "
        "where deleted_at is not null",
        f"create index {identifier('h_' + entity.id + '_written')} on {history} (written, id)",
        *guarded(history, tenant_id, "select"),
        f"create trigger keep_updated after update on {table} referencing old table as replaced {keep}",
        f"create trigger keep_deleted after delete on {table} referencing old table as replaced {keep}",
        f"create trigger stamp before update on {table} for each row "
        "when (new.version = old.version or new.xid < old.xid) "
        "execute function hubblewave.stamp_version()",
    ]

"""The table of an entity's replaced versions, and the triggers that fill it.

An insert writes nothing here. An update or delete, a cascade's too, adds its rows in one INSERT per
statement; the functions behind the triggers are in revision 0003.
"""

from hubblewave_pipelines.core.entity import Entity
from hubblewave_pipelines.storage.physical import guarded, identifier, qualified


def history_table(entity: Entity) -> str:
    return f"{identifier(entity.schema)}.{identifier('h_' + entity.id)}"


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
        "  xid xid8 not null default pg_current_xact_id(),\n"
        "  record jsonb not null,\n"  # the whole row, by physical column
        "  primary key (id, n)\n)",
        f"create index {identifier('h_' + entity.id + '_deleted')} on {history} (xid, id) "
        "where deleted_at is not null",
        *guarded(history, tenant_id, "select"),
        f"create trigger keep_updated after update on {table} referencing old table as replaced {keep}",
        f"create trigger keep_deleted after delete on {table} referencing old table as replaced {keep}",
        f"create trigger stamp before update on {table} for each row "
        "when (new.version = old.version) execute function hubblewave.stamp_version()",
    ]

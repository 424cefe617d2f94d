"""What an entity looks like in PostgreSQL: its columns, constraints, indexes and link tables.

Every physical name is opaque and derived from ids, so the same definition always means the same
objects, and two definitions differ exactly where their objects' names differ.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from hubblewave_pipelines.core.entity import (
    Entity,
    Field,
    FieldKind,
    Json,
    OnDelete,
    Relation,
    RelationKind,
)
from hubblewave_pipelines.core.values import from_json, limit
from hubblewave_pipelines.storage.database import Statement, statement

SQL_TYPES: Mapping[FieldKind, str] = {
    FieldKind.TEXT: "text",
    FieldKind.LONGTEXT: "text",
    FieldKind.INTEGER: "bigint",
    FieldKind.NUMBER: "double precision",
    FieldKind.DECIMAL: "numeric",
    FieldKind.BOOLEAN: "boolean",
    FieldKind.DATE: "date",
    FieldKind.DATETIME: "timestamptz",
    FieldKind.EMAIL: "text",
    FieldKind.URL: "text",
    FieldKind.UUID: "uuid",
    FieldKind.JSON: "jsonb",
    FieldKind.ENUM: "text",
}
_ON_DELETE: Mapping[OnDelete, tuple[str, str]] = {
    # NO ACTION and not RESTRICT: it is checked at the end of the statement, so that a parent and
    # its children can go in one.
    OnDelete.RESTRICT: ("n", "no action"),
    OnDelete.SET_NULL: ("s", "set null"),
    OnDelete.CASCADE: ("c", "cascade"),
}
_SYSTEM_COLUMNS = """
  id uuid primary key default hubblewave.uuid7(),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  version bigint not null default 1,
  created_by uuid,
  updated_by uuid,
  xid xid8 not null default pg_current_xact_id()"""
_PHYSICAL = re.compile(r"[a-z][a-z0-9_]{0,62}")


@dataclass(frozen=True, slots=True)
class Check:
    """A rule of a field as a CHECK constraint; `rule` says it to people."""

    name: str
    column: str
    condition: str
    field: str
    rule: str


@dataclass(frozen=True, slots=True)
class ForeignKey:
    name: str
    column: str
    target: str  # name of the entity referred to
    action: str
    relation: str


def identifier(name: str) -> str:
    """A physical name, ready for SQL text. Anything else must never get here."""
    if _PHYSICAL.fullmatch(name) is None:
        raise ValueError(f"not a physical name: {name!r}")
    return name


def qualified(entity: Entity) -> str:
    return f"{identifier(entity.schema)}.{identifier(entity.table)}"


def link_table(schema: str, link: str) -> str:
    return f"{identifier(schema)}.{identifier('l_' + link)}"


def literal(value: object) -> str:
    """A Python value as an SQL literal (DDL takes no parameters)."""
    return sql.Literal(value).as_string(None).strip()


def spelled(text: str) -> Statement[Any]:
    """A statement of SQL text with literals and without parameters; `%` stands for itself."""
    return statement(text.replace("%", "%%"))


def default_of(field: Field) -> str | None:
    """The field's default as an SQL constant, so that adding the column rewrites nothing."""
    if field.default is None:
        return None
    value: Json = from_json(field, field.default)
    return literal(Jsonb(value) if field.kind is FieldKind.JSON else value)


def checks(entity: Entity) -> dict[str, Check]:
    """CHECK constraints by name. The name holds a digest of the rule: another rule, another name."""
    found: dict[str, Check] = {}
    for field in entity.fields:
        column = identifier(field.column)
        rules: list[tuple[str, str]] = []
        if field.enum:
            values = ", ".join(literal(value) for value in field.enum)
            rules.append((f"{column} in ({values})", "one of the enum's values"))
        if field.max_length is not None:
            rules.append(
                (f"char_length({column}) <= {field.max_length}", f"at most {field.max_length} long")
            )
        if field.min is not None:
            bound = literal(limit(field, field.min))
            rules.append((f"{column} >= {bound}", f"at least {field.min}"))
        if field.max is not None:
            bound = literal(limit(field, field.max))
            rules.append((f"{column} <= {bound}", f"at most {field.max}"))
        for condition, rule in rules:
            digest = hashlib.sha256(condition.encode()).hexdigest()[:8]
            name = f"k_{field.id}_{digest}"
            found[name] = Check(name, column, condition, field.name, rule)
    return found


def required_columns(entity: Entity) -> dict[str, str]:
    """Public name by column of what may not be null."""
    fields = {f.column: f.name for f in entity.fields if f.required}
    references = {r.column: r.field for r in entity.references.values() if r.required}
    return {**fields, **references}


def unique_indexes(entity: Entity) -> dict[str, Field]:
    return {f"u_{f.key}": f for f in entity.fields if f.unique}


def reference_indexes(entity: Entity) -> dict[str, Relation]:
    return {f"x_{r.id}": r for r in entity.references.values()}


def foreign_keys(entity: Entity) -> dict[str, ForeignKey]:
    found: dict[str, ForeignKey] = {}
    for relation in entity.references.values():
        letter, action = _ON_DELETE[relation.on_delete]
        name = f"f_{relation.id}_{letter}"
        found[name] = ForeignKey(name, relation.column, relation.target, action, relation.name)
    return found


def links(entity: Entity) -> dict[str, Relation]:
    """manyToMany relations by the id of their link table; of two that share one, the forward."""
    many = RelationKind.MANY_TO_MANY
    own = [r for r in entity.relations if r.kind is many]
    return {r.link: r for r in sorted(own, key=lambda r: r.forward) if r.link is not None}


def column_definition(field: Field) -> str:
    """`c_... type [default ...] [not null]`."""
    parts = [identifier(field.column), SQL_TYPES[field.kind]]
    default = default_of(field)
    if default is not None:
        parts.append(f"default {default}")
    if field.required:
        parts.append("not null")
    return " ".join(parts)


def foreign_key_clause(key: ForeignKey, target: Entity) -> str:
    return (
        f"constraint {identifier(key.name)} foreign key ({identifier(key.column)}) "
        f"references {qualified(target)} (id) on delete {key.action}"
    )


def guarded(
    table: str, tenant_id: str, rights: str = "select, insert, update, delete"
) -> list[str]:
    """Row security and rights: what every table of a tenant has.

    The condition is evaluated once per statement. Its form matters to the planner, which takes an
    equality to keep 1 row in 200 and a test for null to keep nearly all; all is the truth here.
    """
    same = f"hubblewave.current_tenant() = {literal(tenant_id)}::uuid"
    own = f"((select case when {same} then true end) is not null)"
    return [
        f"alter table {table} enable row level security",
        f"create policy tenant on {table} to hubblewave_app using {own} with check {own}",
        f"revoke all on {table} from hubblewave_app",  # the schema's defaults grant more
        f"grant {rights} on {table} to hubblewave_app",
    ]


def create_table(entity: Entity, targets: Mapping[str, Entity], tenant_id: str) -> list[str]:
    """Statements that make the entity's table; `targets` are the entities it refers to by name."""
    lines = [_SYSTEM_COLUMNS.strip()]
    lines += [column_definition(field) for field in entity.fields]
    lines += [
        f"{identifier(r.column)} uuid{' not null' if r.required else ''}"
        for r in entity.references.values()
    ]
    lines += [f"constraint {c.name} check ({c.condition})" for c in checks(entity).values()]
    lines += [foreign_key_clause(k, targets[k.target]) for k in foreign_keys(entity).values()]
    table, body = qualified(entity), ",\n  ".join(lines)
    statements = [f"create table {table} (\n  {body}\n)", *guarded(table, tenant_id)]
    statements.append(f"create index {identifier('i_' + entity.id)} on {table} (updated_at, id)")
    statements.append(f"create index {identifier('o_' + entity.id)} on {table} (xid, id)")
    for name, field in unique_indexes(entity).items():
        statements.append(f"create unique index {name} on {table} ({field.column})")
    for name, relation in reference_indexes(entity).items():
        statements.append(f"create index {name} on {table} ({relation.column})")
    return statements


def create_link(
    schema: str, link: str, source: Entity, target: Entity, tenant_id: str
) -> list[str]:
    """Statements that make a link table; the pair is the key, so linking twice is one link."""
    table = link_table(schema, link)
    return [
        f"create table {table} (\n"
        f"  source_id uuid not null references {qualified(source)} (id) on delete cascade,\n"
        f"  target_id uuid not null references {qualified(target)} (id) on delete cascade,\n"
        "  primary key (source_id, target_id)\n)",
        f"create index {identifier('l_' + link + '_back')} on {table} (target_id, source_id)",
        *guarded(table, tenant_id),
    ]

"""Laws of changes: the way to a definition does not matter, and jsonb keeps constraint names."""

import re
from contextlib import suppress
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from hubblewave_pipelines.core.definition import from_stored, parse_definition, to_stored
from hubblewave_pipelines.core.entity import Catalog, Entity, FieldKind
from hubblewave_pipelines.core.errors import Conflict, NotFound
from hubblewave_pipelines.core.values import ORDERED_KINDS
from hubblewave_pipelines.storage import physical
from hubblewave_pipelines.storage.database import Database, statement
from hubblewave_pipelines.storage.ddl import Wish, change_definition, define
from hubblewave_pipelines.storage.tenants import Tenant
from tests.strategies import values
from tests.tables import Shape, shape, surplus

_on_one_database = settings(
    max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

_kinds: dict[str, list[dict[str, Any]]] = {
    "a": [
        {"type": "text"},
        {"type": "text", "maxLength": 5},
        {"type": "longtext", "pattern": "x+"},
    ],
    "b": [{"type": "enum", "enum": ["x", "y"]}, {"type": "enum", "enum": ["y"]}, {"type": "url"}],
    "c": [{"type": "integer"}, {"type": "integer", "min": 1}, {"type": "integer", "max": 9}],
    "d": [{"type": "decimal"}, {"type": "decimal", "min": 0, "max": "9.5"}],
    "e": [{"type": "integer"}, {"type": "number"}, {"type": "text"}, {"type": "date"}],
}


@st.composite
def bodies(draw: st.DrawFn) -> dict[str, Any]:
    """A definition of one entity, out of few enough members that two of them share some."""
    fields = []
    for name, rules in _kinds.items():
        if draw(st.booleans()):
            body = {"name": name, **draw(st.sampled_from(rules)), "required": draw(st.booleans())}
            if body["type"] != "longtext":
                body["unique"] = draw(st.booleans())
            fields.append(body)
    relationships = []
    for name in ("r", "s"):
        if draw(st.booleans()):
            on_delete = draw(st.sampled_from(["restrict", "cascade"]))
            own = {"name": name, "type": "manyToOne", "targetEntity": "Thing"}
            relationships.append({**own, "onDelete": on_delete, "required": draw(st.booleans())})
    return {
        "name": "Thing",
        "pluralName": "Things",
        "fields": draw(st.permutations(fields)),
        "relationships": relationships,
    }


def _anonymous(entity: Entity, found: Shape) -> list[str]:
    """The shape with public names in place of opaque ids, retired columns left out."""
    lines = [f"{name} {column}" for name, column in found.columns.items()]
    lines += [f"{name} {text}" for name, text in found.constraints.items()]
    lines += [f"{name} {text}" for name, text in found.indexes.items()]
    names = {m.id: m.name for m in (*entity.fields, *entity.relations)}
    names |= {entity.id: "table", entity.schema: "schema"}
    for id, name in names.items():
        lines = [line.replace(id, name) for line in lines]
    lines = [re.sub(r"k_(\w+)_[0-9a-f]{8}", r"k_\1", line) for line in lines]
    lines = [line for line in lines if re.search(r"c_e(_[0-9])?_[0-9]x", line) is None]
    lines = [re.sub(r"([cu]_e)_[0-9]\b", r"\1", line) for line in lines]  # of an earlier type
    known = set(entity.columns.values()) | {"created_by", "updated_by", "xid"}
    retired = {c for c in found.columns if c not in known}
    return sorted(line for line in lines if not any(column in line for column in retired))


@_on_one_database
@given(first=bodies(), then=st.lists(bodies(), min_size=1, max_size=3))
def test_a_table_changed_to_a_definition_equals_one_created_with_it(
    owner_database: Database, tenant: Tenant, first: dict[str, Any], then: list[dict[str, Any]]
) -> None:
    removal = Wish("Thing", remove=True)
    with suppress(NotFound):  # a failed example of this run
        change_definition(owner_database, tenant.id, removal, requested_by=None)
    (entity,) = define(owner_database, tenant, first)
    reached = first
    for body in then:
        try:
            wish = Wish("Thing", body)
            now = change_definition(owner_database, tenant.id, wish, requested_by=None).entity
        except Conflict:  # a type that cannot change
            continue
        assert now is not None
        entity, reached = now, body
    found = shape(owner_database, entity)
    retired = {name for name in found.columns if name[:2] in ("c_", "r_")}
    retired -= set(entity.columns.values())
    assert surplus(owner_database, entity) == retired
    change_definition(owner_database, tenant.id, removal, requested_by=None)
    (fresh,) = define(owner_database, tenant, reached)
    assert _anonymous(fresh, shape(owner_database, fresh)) == _anonymous(entity, found)


@st.composite
def bounds(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(sorted(ORDERED_KINDS)))
    numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**30), 10**30)
    loose = kind in (FieldKind.NUMBER, FieldKind.DECIMAL)
    value = draw(numbers if loose else values(kind))
    return {"name": "f", "type": kind.value, draw(st.sampled_from(["min", "max"])): value}


@_on_one_database
@given(bounds())
def test_a_definition_means_the_same_constraints_after_the_database_kept_it(
    owner_database: Database, field: dict[str, Any]
) -> None:
    body = {"name": "Thing", "pluralName": "Things", "fields": [field]}
    catalog = Catalog(UUID(int=1), 1, ())
    entity = parse_definition(body, tenant_schema="t_aaaaaaaa", catalog=catalog, existing=None)
    with owner_database.transaction() as tx:
        row = tx.one(statement("select %s::jsonb", [Jsonb(to_stored(entity))]))
    assert row is not None
    kept = from_stored(row[0], "t_aaaaaaaa")
    assert physical.checks(kept) == physical.checks(entity)

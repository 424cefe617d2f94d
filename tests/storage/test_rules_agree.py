"""The rules of a field in `core.values` and in the table's CHECK constraints say the same."""

from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from hubblewave_pipelines.core.definition import parse_definition
from hubblewave_pipelines.core.entity import Catalog, Entity, FieldKind
from hubblewave_pipelines.core.values import ORDERED_KINDS, Refused, from_json
from hubblewave_pipelines.storage.database import Database, statement
from hubblewave_pipelines.storage.physical import SQL_TYPES, checks, default_of, identifier
from tests.strategies import ENUM, values

_on_one_database = settings(
    max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def entity(**field: Any) -> Entity:
    body = {"name": "Thing", "pluralName": "Things", "fields": [{"name": "f", **field}]}
    catalog = Catalog(UUID(int=1), 1, ())
    return parse_definition(body, tenant_schema="t_aaaaaaaa", catalog=catalog, existing=None)


@st.composite
def ruled(draw: st.DrawFn) -> tuple[Entity, Any]:
    """A field with one rule, and a value of its kind that keeps the rule or breaks it."""
    kind = draw(st.sampled_from([*ORDERED_KINDS, FieldKind.TEXT, FieldKind.ENUM]))
    value = draw(values(kind))
    if kind is FieldKind.TEXT:
        return entity(type="text", maxLength=draw(st.integers(1, 30))), value
    if kind is FieldKind.ENUM:
        allowed = draw(st.lists(st.sampled_from(ENUM), min_size=1, unique=True))
        return entity(type="enum", enum=allowed), value
    bound = draw(values(kind) | st.just(value))
    return entity(type=kind.value, **{draw(st.sampled_from(["min", "max"])): bound}), value


@_on_one_database
@given(ruled())
def test_a_value_the_platform_accepts_is_one_the_table_accepts(
    owner_database: Database, case: tuple[Entity, Any]
) -> None:
    thing, value = case
    field = thing.fields[0]
    try:
        accepted, typed = True, from_json(field, value)
    except Refused:
        accepted, typed = False, from_json(entity_without_rules(field.kind), value)
    (check,) = checks(thing).values()
    text = check.condition.replace("%", "%%").replace(check.column, f"%s::{SQL_TYPES[field.kind]}")
    with owner_database.transaction() as tx:
        assert tx.one(statement(f"select {text}", [typed])) == (accepted,)


def entity_without_rules(kind: FieldKind) -> Any:
    enum = {"enum": list(ENUM)} if kind is FieldKind.ENUM else {}
    return entity(type=kind.value, **enum).fields[0]


@_on_one_database
@given(st.sampled_from(FieldKind), st.data())
def test_a_default_in_the_table_is_the_default_of_the_platform(
    owner_database: Database, kind: FieldKind, data: st.DataObject
) -> None:
    enum = {"enum": list(ENUM)} if kind is FieldKind.ENUM else {}
    field = entity(type=kind.value, default=data.draw(values(kind)), **enum).fields[0]
    expected = from_json(field, field.default)
    constant = str(default_of(field)).replace("%", "%%")
    typed = SQL_TYPES[kind]
    given_value = Jsonb(expected) if kind is FieldKind.JSON else expected
    with owner_database.transaction() as tx:
        row = tx.one(statement(f"select ({constant})::{typed} = %s::{typed}", [given_value]))
    assert row == (True,)


def test_what_is_not_a_physical_name_never_reaches_sql() -> None:
    for name in ("", "a b", "x; drop table t", 'a"b', "A", "1a", "a" * 64, "é", "a\n"):
        with pytest.raises(ValueError, match="not a physical name"):
            identifier(name)

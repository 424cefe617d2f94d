"""Values of a field: JSON and text agree, and every refusal says what and where."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubblewave_pipelines.core import bodies, values
from hubblewave_pipelines.core.entity import Entity, Field, FieldKind, Relation, RelationKind
from hubblewave_pipelines.core.errors import Invalid
from tests import strategies
from tests.strategies import cell, field

KINDS = st.sampled_from(FieldKind)


def _refusal(
    read: Callable[[values.Field, object], object], kind: FieldKind, value: object
) -> tuple[str, str] | None:
    try:
        read(field(kind), value)
    except values.Refused as refused:
        return refused.code, refused.detail
    return None


@given(st.data(), KINDS)
def test_a_value_read_from_text_is_the_value_read_from_json(
    data: st.DataObject, kind: FieldKind
) -> None:
    value = data.draw(strategies.values(kind))
    assert values.from_text(field(kind), cell(kind, value)) == values.from_json(field(kind), value)


@given(KINDS, st.text(min_size=1, max_size=20))
def test_any_text_is_either_a_value_or_refused_with_a_code(kind: FieldKind, text: str) -> None:
    refusal = _refusal(values.from_text, kind, text)
    assert refusal is None or all(refusal)


@given(KINDS, strategies.json_values | st.floats() | st.integers())
def test_any_json_is_either_a_value_or_refused_with_a_code(kind: FieldKind, value: object) -> None:
    refusal = _refusal(values.from_json, kind, value)
    assert refusal is None or all(refusal)


@pytest.mark.parametrize(
    ("kind", "value", "code"),
    [
        ("integer", 1.5, "type"),
        ("integer", True, "type"),
        ("integer", "12", "type"),
        ("integer", 2**63, "range"),
        ("number", "1", "type"),
        ("number", float("nan"), "range"),
        ("number", 10**400, "range"),
        ("decimal", "1e5", "type"),
        ("decimal", "NaN", "type"),
        ("decimal", True, "type"),
        ("boolean", 1, "type"),
        ("boolean", "true", "type"),
        ("date", "yesterday", "format"),
        ("date", "2026-02-30", "format"),
        ("date", "2026-W01-1", "format"),
        ("datetime", "infinity", "format"),
        ("datetime", "2026-01-31T25:00:00Z", "format"),
        ("datetime", "0001-01-01T00:00:00+14:00", "format"),
        ("email", "a@b", "format"),
        ("url", "javascript:alert(1)", "format"),
        ("uuid", "12", "format"),
        ("uuid", "{6ba7b810-9dad-11d1-80b4-00c04fd430c8}", "format"),
        ("enum", "nope", "enum"),
        ("text", "a\x00b", "nul"),
        ("text", "\ud800", "encoding"),
        ("text", 12, "type"),
        ("json", {"a": "\x00"}, "nul"),
    ],
)
def test_a_value_that_is_not_of_the_kind_is_refused(kind: str, value: object, code: str) -> None:
    with pytest.raises(values.Refused) as refused:
        values.from_json(field(FieldKind(kind)), value)
    assert refused.value.code == code


def test_times_are_utc_with_microseconds_and_naive_times_are_taken_as_utc() -> None:
    at = field(FieldKind.DATETIME)
    expected = datetime(2026, 1, 31, 7, 30, 0, 123456, tzinfo=UTC)
    assert values.from_json(at, "2026-01-31T08:30:00.123456+01:00") == expected
    assert values.from_text(at, "2026-01-31 07:30:00.123456") == expected


@pytest.mark.parametrize(
    ("rules", "kind", "value", "code"),
    [
        ({"max_length": 3}, "text", "äöüß", "length"),
        ({"pattern": "[A-Z]{2}"}, "text", "ABC", "pattern"),
        ({"min": 1}, "integer", 0, "range"),
        ({"max": 1.5}, "decimal", "1.51", "range"),
        ({"min": "2026-01-01"}, "date", "2025-12-31", "range"),
        ({"max": "2026-01-01T00:00:00Z"}, "datetime", "2026-01-01T00:00:01Z", "range"),
    ],
)
def test_a_value_outside_its_fields_rules_is_refused(
    rules: dict[str, object], kind: str, value: object, code: str
) -> None:
    with pytest.raises(values.Refused) as refused:
        values.from_json(field(FieldKind(kind), **rules), value)
    assert refused.value.code == code


def _entity() -> Entity:
    return Entity(
        id="aaaaaaaa",
        slug="orders",
        name="Order",
        plural="Orders",
        schema="t_aaaaaaaa",
        fields=(
            values.Field(id="aaaaaaab", name="number", kind=FieldKind.TEXT, required=True),
            values.Field(id="aaaaaaac", name="total", kind=FieldKind.INTEGER, default=7),
            values.Field(id="aaaaaaad", name="rank", kind=FieldKind.INTEGER, computed=True),
        ),
        relations=(
            Relation("aaaaaaae", "customer", RelationKind.MANY_TO_ONE, "Customer", "customerId"),
        ),
    )


def test_every_fault_of_a_record_is_named_at_once_with_its_pointer() -> None:
    body = json.loads(
        '{"totl": 1, "total": "x", "customer": {}, "customerId": 5, "rank": 1, "id": "1"}'
    )
    with pytest.raises(Invalid) as invalid:
        bodies.record_values(_entity(), body, mode="create")
    found = {(fault.pointer, fault.code) for fault in invalid.value.faults}
    assert found == {
        ("#/totl", "unknown"),
        ("#/total", "type"),
        ("#/customer", "unknown"),
        ("#/customerId", "type"),
        ("#/rank", "read_only"),
        ("#/id", "read_only"),
        ("#/number", "required"),
    }
    hints = {fault.pointer: fault.detail for fault in invalid.value.faults}
    assert "did you mean total?" in hints["#/totl"]
    assert "set customerId" in hints["#/customer"]


def test_create_fills_defaults_and_patch_touches_only_what_is_named() -> None:
    assert bodies.record_values(_entity(), {"number": "1"}, mode="create") == {
        "number": "1",
        "total": 7,
        "customerId": None,
    }
    assert bodies.record_values(_entity(), {"total": None}, mode="patch") == {"total": None}


@pytest.mark.parametrize(("body", "mode"), [([], "create"), ({}, "patch"), ("x", "replace")])
def test_a_body_that_is_no_object_or_an_empty_patch_is_refused(body: object, mode: str) -> None:
    with pytest.raises(Invalid):
        bodies.record_values(_entity(), body, mode=mode)  # type: ignore[arg-type]


JSON_VALUES: list[Any] = [
    0, -1, 2**63, 1.5, float("inf"), True, "", "a", "\x00", "\ud800", "é", "1", "12.50", "1e5",
    "true", "2026-01-31", "2026-02-30", "2026-01-31T08:30:00Z", "a@example.org", "https://e.org/",
    "0190a9a0-0000-7000-8000-000000000000", [], {}, [1], {"a": "\x00"},
]  # fmt: skip


def read_by(read: Callable[[Any], object], value: Any) -> tuple[object, ...]:
    """What came of it, a refusal included."""
    try:
        found = read(value)
    except values.Refused as refused:
        return "refused", refused.code, refused.detail
    return type(found), found


@pytest.mark.parametrize("kind", FieldKind)
def test_the_reader_of_many_reads_as_the_reader_of_one(kind: FieldKind) -> None:
    enum = ("a", "1") if kind is FieldKind.ENUM else ()
    for longest in (None, 3):
        one = Field(id="f", name="f", kind=kind, enum=enum, max_length=longest)
        for value in JSON_VALUES:
            assert read_by(values.reader(one), value) == read_by(
                partial(values.from_json, one), value
            )

"""Laws of definitions: what is shown parses back to the same; junk is refused, never a crash."""

import json
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from hubblewave_pipelines.core.definition import (
    KEYS,
    as_json,
    from_stored,
    parse_definition,
    to_stored,
)
from hubblewave_pipelines.core.entity import Catalog, Entity, FieldKind
from hubblewave_pipelines.core.errors import Fault, PlatformError
from hubblewave_pipelines.core.values import ORDERED_KINDS, TEXT_KINDS
from tests.strategies import ENUM, json_values, values

TENANT = UUID(int=1)
_names = st.from_regex(r"\A[A-Za-z][A-Za-z0-9]{0,20}\Z").map(lambda name: f"x{name}")
_texts = st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20)


@st.composite
def field_bodies(draw: st.DrawFn) -> dict[str, Any]:
    """The JSON of a field that keeps every rule."""
    kind = draw(st.sampled_from(FieldKind))
    body: dict[str, Any] = {"name": draw(_names), "type": kind.value}
    body |= {"description": draw(_texts), "format": draw(_texts)}
    if kind is FieldKind.ENUM:
        body["enum"] = list(ENUM)
    if draw(st.booleans()) and kind not in (FieldKind.LONGTEXT, FieldKind.JSON):
        body["unique"] = True
    elif draw(st.booleans()):
        default = draw(values(kind))
        body |= {"default": default, "example": default, "computed": draw(st.booleans())}
    if kind in ORDERED_KINDS and "default" not in body and draw(st.booleans()):
        body[draw(st.sampled_from(["min", "max"]))] = draw(values(kind))
    if kind in TEXT_KINDS - {FieldKind.ENUM} and draw(st.booleans()):
        body["maxLength"] = draw(st.integers(300, 600))
    if "default" in body or not body.get("computed"):
        body["required"] = draw(st.booleans())
    return body


definitions = st.fixed_dictionaries(
    {
        "name": _names.map(lambda name: f"A{name}"),
        "pluralName": _names.map(lambda name: f"B{name}s"),
        "description": _texts,
        "fields": st.lists(field_bodies(), max_size=6, unique_by=lambda f: f["name"].lower()),
        "relationships": st.just([]),
    }
)


def parse(body: object, catalog: Catalog, existing: Entity | None) -> Entity:
    return parse_definition(body, tenant_schema="t_aaaaaaaa", catalog=catalog, existing=existing)


@given(definitions)
def test_what_is_shown_parses_back_to_the_same(body: dict[str, Any]) -> None:
    entity = parse(body, Catalog(TENANT, 1, ()), None)
    catalog = Catalog(TENANT, 2, (entity,))
    shown = json.loads(json.dumps(as_json(entity)))
    assert parse(shown, catalog, entity) == entity


@given(definitions)
def test_what_is_stored_reads_back_the_same(body: dict[str, Any]) -> None:
    entity = parse(body, Catalog(TENANT, 1, ()), None)
    stored = json.loads(json.dumps(to_stored(entity)))
    assert from_stored(stored, "t_aaaaaaaa") == entity


_member_keys = st.sampled_from(
    "id name type required unique default enum maxLength min max pattern targetEntity field onDelete".split()
)
_words = st.sampled_from(
    [*FieldKind, "manyToOne", "oneToMany", "manyToMany", "Self", "setNull", "("]
)
_members = st.dictionaries(_member_keys, json_values | _words, max_size=8)
_junk = st.dictionaries(
    st.sampled_from(KEYS), json_values | st.lists(_members, max_size=4) | st.just("Self")
)


@given(_junk)
def test_junk_is_refused_with_a_place_and_never_crashes(body: dict[str, Any]) -> None:
    faults: tuple[Fault, ...] = ()
    try:
        parse(body, Catalog(TENANT, 1, ()), None)
    except PlatformError as refused:
        faults = refused.faults or (Fault("nowhere", refused.detail),)
    assert all(fault.pointer and fault.pointer.startswith("#/") for fault in faults)

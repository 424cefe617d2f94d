"""Each rule of an entity definition: the input that breaks it, and the fault that says so."""

from typing import Any
from uuid import UUID

import pytest

from hubblewave_pipelines.core.definition import as_json, parse_definition
from hubblewave_pipelines.core.entity import Catalog, Entity, FieldKind
from hubblewave_pipelines.core.errors import Conflict, Invalid, PlatformError

TENANT = UUID(int=1)
EMPTY = Catalog(TENANT, 1, ())


def body(*fields: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": "Contact", "pluralName": "Contacts", "fields": list(fields), **more}


def field(**rules: Any) -> dict[str, Any]:
    return {"name": "f", "type": "text", **rules}


def parse(given: object, catalog: Catalog = EMPTY, existing: Entity | None = None) -> Entity:
    return parse_definition(given, tenant_schema="t_aaaaaaaa", catalog=catalog, existing=existing)


def faults(given: object, catalog: Catalog = EMPTY, existing: Entity | None = None) -> set[str]:
    with pytest.raises(PlatformError) as caught:
        parse(given, catalog, existing)
    return {f"{fault.pointer} {fault.code}" for fault in caught.value.faults}


BROKEN = [
    ({}, {"#/name required", "#/pluralName required", "#/fields required"}),
    (body(name=7), {"#/name type"}),
    (body(name="9lives"), {"#/name format"}),
    (body(name="a b"), {"#/name format"}),
    (body(name="a_b"), {"#/name format"}),
    (body(name="É"), {"#/name format"}),
    (body(name="x" * 64), {"#/name format"}),
    (body(name=""), {"#/name format"}),
    (body(name="Name\n"), {"#/name format"}),
    (body(name="Query"), {"#/name reserved"}),
    (body(pluralName="Entities"), {"#/pluralName reserved"}),
    (body(pluralName="graphQL"), {"#/pluralName reserved"}),
    (body(pluralName="CONTACT"), {"#/pluralName duplicate"}),
    (body(description=1), {"#/description type"}),
    (body(description="a\x00b"), {"#/description nul"}),
    (body(description="\ud800"), {"#/description nul"}),
    (body(description="x" * 10_001), {"#/description length"}),
    (body(feilds=[]), {"#/feilds unknown"}),
    (body(**{"a/b~c": 1}), {"#/a~1b~0c unknown"}),
    (body(id="aaaaaaaa"), {"#/id read_only"}),
    (body(slug="x"), {"#/slug read_only"}),
    (body() | {"fields": {}}, {"#/fields type"}),
    (body() | {"fields": [1, None]}, {"#/fields/0 type", "#/fields/1 type"}),
    (body() | {"fields": [field(name=f"f{n}") for n in range(201)]}, {"#/fields length"}),
    (body(field(name="id")), {"#/fields/0/name reserved"}),
    (body(field(name="CreatedAT")), {"#/fields/0/name reserved"}),
    (body(field(name="and")), {"#/fields/0/name reserved"}),
    (body(field(), field(name="F")), {"#/fields/1/name duplicate"}),
    (body(field(id="bbbbbbbb")), {"#/fields/0/id unknown"}),
    (body({"name": "f"}), {"#/fields/0/type required"}),
    (body(field(type="string")), {"#/fields/0/type enum"}),
    (body(field(type=["text"])), {"#/fields/0/type enum"}),
    (body(field(required="yes")), {"#/fields/0/required type"}),
    (body(field(unique=1)), {"#/fields/0/unique type"}),
    (body(field(max_length=5)), {"#/fields/0/max_length unknown"}),
    (body(field(maxLength=0)), {"#/fields/0/maxLength range"}),
    (body(field(maxLength=True)), {"#/fields/0/maxLength type"}),
    (body(field(maxLength="5")), {"#/fields/0/maxLength type"}),
    (body(field(type="integer", maxLength=5)), {"#/fields/0/maxLength misplaced"}),
    (body(field(min=1)), {"#/fields/0/min misplaced"}),
    (body(field(enum=["a"])), {"#/fields/0/enum misplaced"}),
    (body(field(type="json", pattern="a")), {"#/fields/0/pattern misplaced"}),
    (body(field(pattern="(")), {"#/fields/0/pattern pattern"}),
    (body(field(pattern=r"(?=look)ahead")), {"#/fields/0/pattern pattern"}),
    (body(field(pattern=r"(a)\1")), {"#/fields/0/pattern pattern"}),
    (body(field(type="enum")), {"#/fields/0/enum required"}),
    (body(field(type="enum", enum=[])), {"#/fields/0/enum required"}),
    (body(field(type="enum", enum="a,b")), {"#/fields/0/enum required"}),
    (body(field(type="enum", enum=["a", "a"])), {"#/fields/0/enum/1 duplicate"}),
    (
        body(field(type="enum", enum=["a", 1, ""])),
        {"#/fields/0/enum/1 type", "#/fields/0/enum/2 type"},
    ),
    (body(field(type="enum", enum=["a\x00"])), {"#/fields/0/enum/0 type"}),
    (body(field(type="enum", enum=[str(n) for n in range(501)])), {"#/fields/0/enum length"}),
    (body(field(type="integer", min=5, max=4)), {"#/fields/0/max range"}),
    (body(field(type="integer", min=1.5)), {"#/fields/0/min type"}),
    (body(field(type="integer", max=2**63)), {"#/fields/0/max range"}),
    (body(field(type="integer", min=True)), {"#/fields/0/min type"}),
    (body(field(type="number", max=float("inf"))), {"#/fields/0/max type"}),
    (body(field(type="number", max=10**400)), {"#/fields/0/max range"}),
    (body(field(type="decimal", min="twelve")), {"#/fields/0/min type"}),
    (body(field(type="decimal", min=[1])), {"#/fields/0/min type"}),
    (body(field(type="date", min="2026-02-30")), {"#/fields/0/min format"}),
    (body(field(type="date", min=20260101)), {"#/fields/0/min type"}),
    (body(field(type="datetime", max="soon")), {"#/fields/0/max format"}),
    (body(field(type="integer", default="1")), {"#/fields/0/default type"}),
    (body(field(type="integer", max=5, default=6)), {"#/fields/0/default range"}),
    (body(field(maxLength=2, default="abc")), {"#/fields/0/default length"}),
    (body(field(pattern="[a-z]+", example="A")), {"#/fields/0/example pattern"}),
    (body(field(type="enum", enum=["a"], default="b")), {"#/fields/0/default enum"}),
    (body(field(type="email", default="nobody")), {"#/fields/0/default format"}),
    (body(field(type="json", default={"a": 2**64})), {"#/fields/0/default range"}),
    (body(field(type="json", default={"a": "\x00"})), {"#/fields/0/default nul"}),
    (body(field(default="a\x00")), {"#/fields/0/default nul"}),
    (body(field(unique=True, default="a")), {"#/fields/0/default misplaced"}),
    (body(field(type="json", unique=True)), {"#/fields/0/unique misplaced"}),
    (body(field(type="longtext", unique=True)), {"#/fields/0/unique misplaced"}),
    (body(field(unique=True, maxLength=601)), {"#/fields/0/maxLength range"}),
    (body(field(computed=True, required=True)), {"#/fields/0/required misplaced"}),
]


def _id(value: object) -> str:
    """Sets print in an order that differs between the processes that share the tests."""
    shown = ", ".join(sorted(value)) if isinstance(value, set) else str(value)
    return shown[:70]


@pytest.mark.parametrize(("given", "expected"), BROKEN, ids=_id)
def test_a_broken_rule_is_named_where_it_is_broken(given: object, expected: set[str]) -> None:
    assert faults(given) == expected


@pytest.mark.parametrize("given", [None, [], "Contact", 1, True])
def test_a_definition_must_be_an_object(given: object) -> None:
    with pytest.raises(Invalid):
        parse(given)


def test_all_faults_are_named_at_once() -> None:
    given = body(field(type="string"), field(name="1"), nmae=1, pluralName="jobs")
    assert faults(given) == {
        "#/nmae unknown",
        "#/pluralName reserved",
        "#/fields/0/type enum",
        "#/fields/1/name format",
    }


def test_a_near_miss_is_answered_with_a_suggestion() -> None:
    with pytest.raises(Invalid) as caught:
        parse(body(field(type="string"), plural="x"))
    said = {fault.pointer: fault.detail for fault in caught.value.faults}
    assert 'did you mean "text"?' in said["#/fields/0/type"]
    assert 'did you mean "pluralName"?' in said["#/plural"]


@pytest.mark.parametrize("kind", FieldKind)
def test_every_type_can_be_defined_with_its_name_alone(kind: FieldKind) -> None:
    enum = {"enum": ["a"]} if kind is FieldKind.ENUM else {}
    entity = parse(body(field(type=kind.value, **enum)))
    assert [f.kind for f in entity.fields] == [kind]


def test_a_unique_text_says_how_long_it_may_be() -> None:
    entity = parse(body(field(unique=True), field(name="g", type="uuid", unique=True)))
    assert [f.max_length for f in entity.fields] == [600, None]


def test_an_entity_without_fields_is_an_entity() -> None:
    assert parse(body()).fields == ()


def test_names_taken_by_another_entity_are_a_conflict() -> None:
    first = parse(body())
    catalog = Catalog(TENANT, 2, (first,))
    with pytest.raises(Conflict) as caught:
        parse({"name": "CONTACT", "pluralName": "contacts", "fields": []}, catalog)
    assert {f.code for f in caught.value.faults} == {"taken"}
    assert faults({"name": "Contacts", "pluralName": "People", "fields": []}, catalog) == {
        "#/name taken"
    }
    with pytest.raises(Invalid):  # a conflict and a broken rule: the rule first
        parse({"name": "Contact", "pluralName": "jobs", "fields": []}, catalog)


def test_an_entity_keeps_its_own_names_when_it_is_replaced() -> None:
    first = parse(body(field()))
    catalog = Catalog(TENANT, 2, (first,))
    assert parse(body(field()), catalog, first) == first


def test_a_slug_that_a_renamed_entity_holds_is_not_given_again() -> None:
    first = parse(body())
    renamed = parse({**as_json(first), "name": "Person", "pluralName": "People"}, EMPTY, first)
    assert renamed.slug == "contacts"
    second = parse(body(), Catalog(TENANT, 2, (renamed,)))
    assert second.slug == "contacts2"


def test_a_field_keeps_its_identity_by_id_or_else_by_name() -> None:
    first = parse(body(field(name="a"), field(name="b")))
    a, b = first.fields
    renamed = parse(body(field(name="z", id=a.id), field(name="a"), field(name="B")), EMPTY, first)
    assert renamed.fields[0].id == a.id
    assert renamed.fields[1].id not in (a.id, b.id)
    assert renamed.fields[2].id == b.id


def test_an_id_given_twice_is_refused() -> None:
    first = parse(body(field(name="a")))
    id = first.fields[0].id
    twice = body(field(name="a", id=id), field(name="b", id=id))
    assert faults(twice, EMPTY, first) == {"#/fields/1/id duplicate"}

"""Relationships: resolved against the other entities, paired, and followed through renames."""

from typing import Any
from uuid import UUID

import pytest

from hubblewave_pipelines.core.definition import as_json, parse_definition
from hubblewave_pipelines.core.entity import Catalog, Entity, RelationKind
from hubblewave_pipelines.core.errors import PlatformError
from hubblewave_pipelines.core.relations import broken_relations, dependents

TENANT = UUID(int=1)


def body(name: str, *relationships: dict[str, Any], **more: Any) -> dict[str, Any]:
    given = {"name": name, "pluralName": f"{name}s", "fields": []}
    return {**given, "relationships": list(relationships), **more}


def relation(name: str, kind: str, target: str, **rules: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, "targetEntity": target, **rules}


def parse(given: dict[str, Any], *others: Entity, existing: Entity | None = None) -> Entity:
    catalog = Catalog(TENANT, 1, (*others, *([existing] if existing else [])))
    return parse_definition(given, tenant_schema="t_aaaaaaaa", catalog=catalog, existing=existing)


def faults(given: dict[str, Any], *others: Entity, existing: Entity | None = None) -> set[str]:
    with pytest.raises(PlatformError) as caught:
        parse(given, *others, existing=existing)
    return {f"{fault.pointer} {fault.code}" for fault in caught.value.faults}


CUSTOMER = parse(body("Customer"))
ORDER = parse(body("Order", relation("customer", "manyToOne", "Customer")), CUSTOMER)
TAGGED = parse(body("Post", relation("tags", "manyToMany", "Customer")), CUSTOMER)


def test_a_reference_is_named_after_its_relation_unless_it_says_otherwise() -> None:
    own = relation("buyer", "manyToOne", "Customer", field="customerNo")
    order = parse(body("Order", relation("customer", "manyToOne", "Customer"), own), CUSTOMER)
    assert set(order.references) == {"customerId", "customerNo"}


BROKEN = [
    (relation("r", "manyToOne", "Nobody"), {"targetEntity unknown"}),
    (relation("r", "oneToOne", "Customer"), {"type enum"}),
    ({"name": "r", "type": "manyToOne"}, {"targetEntity required"}),
    (relation("r", "manyToOne", "Customer", onDelete="explode"), {"onDelete enum"}),
    (
        relation("r", "manyToOne", "Customer", onDelete="setNull", required=True),
        {"onDelete misplaced"},
    ),
    (relation("r", "manyToOne", "Customer", through="x"), {"through unknown"}),
    (relation("history", "manyToOne", "Customer"), {"name reserved"}),
    (relation("r", "manyToOne", "Customer", field="version"), {"field reserved"}),
    (relation("r", "manyToOne", "Customer", field="R"), {"field duplicate"}),
    (relation("r" * 63, "manyToOne", "Customer"), {"field format"}),
    (relation("r", "oneToMany", "Customer"), {"field unknown"}),
    (relation("r", "oneToMany", "Invoice"), {"targetEntity unknown"}),
    (
        relation("r", "oneToMany", "Customer", required=True),
        {"field unknown", "required misplaced"},
    ),
    (relation("r", "manyToMany", "Customer", onDelete="cascade"), {"onDelete misplaced"}),
    (relation("r", "manyToMany", "Customer", field="nothing"), {"field unknown"}),
]


def _id(value: object) -> str:
    """Sets print in an order that differs between the processes that share the tests."""
    shown = ", ".join(sorted(value)) if isinstance(value, set) else str(value)
    return shown[:70]


@pytest.mark.parametrize(("given", "expected"), BROKEN, ids=_id)
def test_a_broken_relationship_is_named_where_it_is_broken(
    given: dict[str, Any], expected: set[str]
) -> None:
    assert faults(body("Order", given), CUSTOMER) == {f"#/relationships/0/{e}" for e in expected}


def test_an_unknown_target_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(PlatformError) as caught:
        parse(body("Order", relation("r", "manyToOne", "Custommer")), CUSTOMER)
    assert 'did you mean "Customer"?' in caught.value.faults[0].detail


def test_one_to_many_reads_a_reference_backwards_by_field_by_name_or_alone() -> None:
    for more in ({"field": "customerId"}, {"field": "customer"}, {}):
        given = body("Customer", relation("orders", "oneToMany", "Order", **more))
        customer = parse(given, ORDER, existing=CUSTOMER)
        assert customer.relations[0].field == "customerId"


def test_one_to_many_without_its_reference_says_in_which_order_to_define() -> None:
    with pytest.raises(PlatformError) as caught:
        parse(body("Invoice", relation("orders", "oneToMany", "Order")), ORDER, CUSTOMER)
    assert "add the manyToOne to Order, then add this one by PUT" in caught.value.faults[0].detail


def test_two_references_to_one_target_must_be_told_apart() -> None:
    two = (relation("payer", "manyToOne", "Customer"), relation("user", "manyToOne", "Customer"))
    order = parse(body("Order", *two), CUSTOMER)
    given = body("Customer", relation("orders", "oneToMany", "Order"))
    assert faults(given, order, existing=CUSTOMER) == {"#/relationships/0/field unknown"}


def test_an_entity_may_refer_to_itself_both_ways() -> None:
    employee = parse(
        body(
            "Employee",
            relation("reports", "oneToMany", "Employee", field="bossId"),
            relation("boss", "manyToOne", "Employee"),
        )
    )
    assert [r.target for r in employee.relations] == ["Employee", "Employee"]
    assert employee.relations[0].field == "bossId"


def test_the_second_side_of_many_to_many_shares_the_link_table() -> None:
    given = body("Customer", relation("posts", "manyToMany", "Post", field="tags"))
    customer = parse(given, TAGGED, existing=CUSTOMER)
    first, second = TAGGED.relations[0], customer.relations[0]
    assert second.link == first.link
    assert (first.forward, second.forward) == (True, False)
    (post,) = dependents(CUSTOMER, customer, Catalog(TENANT, 1, (CUSTOMER, TAGGED)))
    assert post.relations[0].field == "posts"
    again = body(
        "Customer", *given["relationships"], relation("p2", "manyToMany", "Post", field="tags")
    )
    assert faults(again, post, existing=customer) == {"#/relationships/1/field taken"}


@pytest.mark.parametrize("mutual", [True, False])
def test_both_sides_of_a_many_to_many_may_be_on_one_entity(mutual: bool) -> None:
    first = relation(
        "following", "manyToMany", "Person", **({"field": "followers"} if mutual else {})
    )
    second = relation("followers", "manyToMany", "Person", field="following")
    person = parse(body("Person", first, second))
    following, followers = person.relations
    assert following.link == followers.link
    assert following.forward is not followers.forward
    assert (following.field, followers.field) == ("followers", "following")
    assert parse(as_json(person), existing=person) == person


def test_a_relation_keeps_its_kind_and_target() -> None:
    given = as_json(ORDER)
    other_kind = {
        **given,
        "relationships": [
            given["relationships"][0]
            | {"type": "manyToMany", "field": None, "onDelete": None, "required": None}
        ],
    }
    assert "#/relationships/0/type immutable" in faults(other_kind, CUSTOMER, existing=ORDER)
    vendor = parse(body("Vendor"))
    other_target = {
        **given,
        "relationships": [given["relationships"][0] | {"targetEntity": "Vendor"}],
    }
    assert faults(other_target, CUSTOMER, vendor, existing=ORDER) == {
        "#/relationships/0/targetEntity immutable"
    }


def test_relations_of_others_follow_a_rename() -> None:
    customer = parse(
        body("Customer", relation("orders", "oneToMany", "Order")), ORDER, existing=CUSTOMER
    )
    catalog = Catalog(TENANT, 1, (customer, ORDER))
    given = as_json(ORDER)
    given["name"] = "Sale"
    given["relationships"][0] |= {"name": "buyer", "field": "buyerId"}
    sale = parse(given, customer, existing=ORDER)
    assert sale.relations[0].id == ORDER.relations[0].id
    (followed,) = dependents(ORDER, sale, catalog)
    assert (followed.relations[0].target, followed.relations[0].field) == ("Sale", "buyerId")
    assert followed.relations[0].kind is RelationKind.ONE_TO_MANY


def test_a_rename_of_the_entity_itself_carries_its_own_relations() -> None:
    person = parse(body("Person", relation("boss", "manyToOne", "Person")))
    renamed = parse({**as_json(person), "name": "Human"}, existing=person)
    assert renamed.relations[0].target == "Human"


def test_what_others_need_is_named_before_it_goes() -> None:
    customer = parse(
        body("Customer", relation("orders", "oneToMany", "Order")), ORDER, existing=CUSTOMER
    )
    catalog = Catalog(TENANT, 1, (customer, ORDER))
    assert broken_relations(customer, None, catalog) == ["Order.customer"]
    assert broken_relations(ORDER, parse(body("Order"), customer, existing=ORDER), catalog) == [
        "Customer.orders"
    ]
    assert broken_relations(ORDER, ORDER, catalog) == []

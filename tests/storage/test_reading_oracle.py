"""Whatever is filtered, sorted, expanded or counted over relations equals a naive walk in memory."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cmp_to_key
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hubblewave_pipelines.core.cursor import Seal
from hubblewave_pipelines.core.entity import Catalog, Entity
from hubblewave_pipelines.core.hops import hop_of
from hubblewave_pipelines.core.parameters import parse_query, parse_query_body
from hubblewave_pipelines.core.query import LinkedFrom, Query
from hubblewave_pipelines.storage.compiler import select_page
from hubblewave_pipelines.storage.database import Database, Transaction, statement
from hubblewave_pipelines.storage.ddl import Wish, change_definition, define
from hubblewave_pipelines.storage.tenants import Tenant

SECRET = b"test"
REGION = {
    "name": "Region",
    "pluralName": "Regions",
    "fields": [{"name": "label", "type": "text"}, {"name": "rank", "type": "integer"}],
}
CUSTOMER = {
    "name": "Customer",
    "pluralName": "Customers",
    "fields": [{"name": "label", "type": "text"}, {"name": "rank", "type": "integer"}],
    "relationships": [{"name": "region", "type": "manyToOne", "targetEntity": "Region"}],
}
TAG = {
    "name": "Tag",
    "pluralName": "Tags",
    "fields": [{"name": "label", "type": "text"}, {"name": "rank", "type": "integer"}],
}
ORDER = {
    "name": "Order",
    "pluralName": "Orders",
    "fields": [{"name": "label", "type": "text"}, {"name": "rank", "type": "integer"}],
    "relationships": [
        {"name": "customer", "type": "manyToOne", "targetEntity": "Customer"},
        {"name": "parent", "type": "manyToOne", "targetEntity": "Order"},
        {"name": "parts", "type": "oneToMany", "targetEntity": "Order", "field": "parentId"},
        {"name": "tags", "type": "manyToMany", "targetEntity": "Tag"},
    ],
}
CUSTOMER_WITH_ORDERS = {
    **CUSTOMER,
    "relationships": [
        *CUSTOMER["relationships"],
        {"name": "orders", "type": "oneToMany", "targetEntity": "Order", "field": "customerId"},
    ],
}
TAG_WITH_ORDERS = {
    **TAG,
    "relationships": [
        {"name": "orders", "type": "manyToMany", "targetEntity": "Order", "field": "tags"}
    ],
}
# Entity -> relation -> target; the oracle's own idea of the model.
ONE = {
    "Region": {},
    "Customer": {"region": "Region"},
    "Tag": {},
    "Order": {"customer": "Customer", "parent": "Order"},
}
MANY = {
    "Region": {},
    "Customer": {"orders": "Order"},
    "Tag": {"orders": "Order"},
    "Order": {"parts": "Order", "tags": "Tag"},
}
ENTITIES = list(ONE)
Node = dict[str, Any]  # label, rank, id, entity, and relations as nodes or lists of nodes
World = dict[str, list[Node]]


@dataclass
class Store:
    """The tables of the four entities, seen through one connection."""

    tx: Transaction
    catalog: Catalog

    def entity(self, name: str) -> Entity:
        found = self.catalog.named(name)
        assert found is not None
        return found

    def fill(self, world: World) -> None:
        """Store the world; gives every node its id. Parents come before those that name them."""
        for name in ENTITIES:
            entity = self.entity(name)
            for number, node in enumerate(world[name]):
                node["id"] = str(UUID(int=ENTITIES.index(name) * 1000 + number))
                values = {"id": node["id"], "label": node["label"], "rank": node["rank"]}
                for relation in ONE[name]:
                    target = node[relation]
                    values[f"{relation}Id"] = target and target["id"]
                columns = ", ".join(entity.columns[key] for key in values)
                slots = ", ".join(["%s"] * len(values))
                table = f"{entity.schema}.{entity.table}"
                text = f"insert into {table} ({columns}) values ({slots})"
                self.tx.run(statement(text, list(values.values())))
        order = self.entity("Order")
        link = order.relations_by_name["tags"].link
        for node in world["Order"]:
            for tag in node["tags"]:
                text = f"insert into {order.schema}.l_{link} values (%s, %s)"
                self.tx.run(statement(text, [node["id"], tag["id"]]))

    def query(self, name: str, **given: str) -> Query:
        return parse_query(self.entity(name), given.items(), secret=SECRET, catalog=self.catalog)

    def items(self, query: Query) -> tuple[list[Node], Any]:
        page = self.tx.one(select_page(query))
        assert page is not None
        return json.loads(page.items), page


@pytest.fixture
def store(owner_database: Database, tenant: Tenant) -> Iterator[Store]:
    define(owner_database, tenant, REGION, CUSTOMER, TAG, ORDER)
    for body in (CUSTOMER_WITH_ORDERS, TAG_WITH_ORDERS):
        change = Wish(str(body["name"]), body)
        catalog = change_definition(owner_database, tenant.id, change, requested_by=None).catalog
    with owner_database.connect() as connection:
        yield Store(Transaction(connection), catalog)


def law(function: Callable[..., None]) -> Callable[..., None]:
    kept = settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
    return kept(function)


labels = st.none() | st.sampled_from(["a", "b", "ab", "A_", "50%"])
ranks = st.none() | st.integers(0, 3)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """A few records of each entity, linked at random."""
    world: World = {}
    for name in ENTITIES:
        world[name] = []
        for _ in range(draw(st.integers(0, 5))):
            node: Node = {"entity": name, "label": draw(labels), "rank": draw(ranks)}
            for relation, target in ONE[name].items():
                targets = [None, *world[target]]
                node[relation] = draw(st.sampled_from(targets))
            for relation in MANY[name]:
                node[relation] = []
            world[name].append(node)
    for order in world["Order"]:
        if order["customer"]:
            order["customer"]["orders"].append(order)
        if order["parent"]:
            order["parent"]["parts"].append(order)
        for tag in world["Tag"]:
            if draw(st.booleans()):
                order["tags"].append(tag)
                tag["orders"].append(order)
    return world


@st.composite
def conditions(draw: st.DrawFn, name: str, depth: int = 0) -> dict[str, Any]:
    """A `where` document over the entity."""
    shapes = ["compare"] if depth > 3 else ["compare", "compare", "and", "or", "not", "one", "many"]
    shape = draw(st.sampled_from(shapes))
    if shape in ("and", "or"):
        return {shape: draw(st.lists(conditions(name, depth + 1), min_size=1, max_size=3))}
    if shape == "not":
        return {"not": draw(conditions(name, depth + 1))}
    if shape == "one" and ONE[name]:
        relation = draw(st.sampled_from(list(ONE[name])))
        inner = draw(conditions(ONE[name][relation], depth + 1))
        dotted = set(inner) <= {"label", "rank", "id"} and draw(st.booleans())
        if dotted:
            return {f"{relation}.{field}": value for field, value in inner.items()}
        return {relation: inner}
    if shape == "many" and MANY[name]:
        relation = draw(st.sampled_from(list(MANY[name])))
        quantifier = draw(st.sampled_from(["some", "none", "every"]))
        return {relation: {quantifier: draw(conditions(MANY[name][relation], depth + 1) | empty)}}
    return draw(comparisons)


empty: st.SearchStrategy[dict[str, Any]] = st.just({})
texts = st.sampled_from(["a", "b", "", "A_", "%"])
numbers = st.integers(0, 3)
comparisons = st.one_of(
    st.builds(
        lambda word, text: {"label": {word: text}},
        st.sampled_from(
            "eq ne contains icontains startsWith istartsWith endsWith iendsWith".split()
        ),
        texts,
    ),
    st.builds(lambda word, n: {"rank": {word: n}}, st.sampled_from("eq ne lt gte".split()), numbers),
    st.builds(lambda a, b: {"rank": {"between": [a, b]}}, numbers, numbers),
    st.builds(lambda word, ns: {"rank": {word: ns}}, st.sampled_from(["in", "nin"]),
              st.lists(numbers, min_size=1, max_size=2)),
    st.builds(lambda field, yes: {field: {"isNull": yes}},
              st.sampled_from(["label", "rank", "id"]), st.booleans()),
)  # fmt: skip


def compared(value: Any, word: str, literal: Any) -> bool:
    if word == "isNull":
        return bool((value is None) == literal)
    if word in ("ne", "nin"):
        return not compared(value, {"ne": "eq", "nin": "in"}[word], literal)
    if value is None:
        return False
    if word.startswith("i") and word != "in":
        return compared(value.lower(), word[1].lower() + word[2:], literal.lower())
    meanings: dict[str, Callable[[], bool]] = {
        "eq": lambda: value == literal,
        "in": lambda: value in literal,
        "lt": lambda: value < literal,
        "gte": lambda: value >= literal,
        "between": lambda: literal[0] <= value <= literal[1],
        "contains": lambda: literal in value,
        "startsWith": lambda: value.startswith(literal),
        "endsWith": lambda: value.endswith(literal),
    }
    return bool(meanings[word]())


def nobody(name: str) -> Node:
    """The record that a reference to nothing leads to: no values, no relations."""
    node: Node = {"entity": name, "id": None, "label": None, "rank": None}
    return node | dict.fromkeys(ONE[name]) | {relation: [] for relation in MANY[name]}


def holds(where: dict[str, Any], node: Node) -> bool:
    """What a `where` document means."""
    return all(_member(key, value, node) for key, value in where.items())


def _member(key: str, value: Any, node: Node) -> bool:
    name = node["entity"]
    if key == "and":
        return all(holds(part, node) for part in value)
    if key == "or":
        return any(holds(part, node) for part in value)
    if key == "not":
        return not holds(value, node)
    head, _, rest = key.partition(".")
    if head in ONE[name]:
        target = node[head] or nobody(ONE[name][head])
        return holds({rest: value} if rest else value, target)
    if head in MANY[name]:
        [(quantifier, inner)] = value.items()
        matches = [holds(inner, related) for related in node[head]]
        return {"some": any(matches), "none": not any(matches), "every": all(matches)}[quantifier]
    return all(compared(node[key], word, literal) for word, literal in value.items())


@law
@given(world=worlds(), name=st.sampled_from(["Customer", "Order", "Tag"]), data=st.data())
def test_a_filter_over_relations_lets_through_what_it_says(
    store: Store, world: World, name: str, data: st.DataObject
) -> None:
    where = data.draw(conditions(name))
    with store.tx.connection.transaction(force_rollback=True):
        store.fill(world)
        items, page = store.items(
            store.query(name, where=json.dumps(where), count="exact", pageSize="1000")
        )
        expected = [node["id"] for node in world[name] if holds(where, node)]
        assert [item["id"] for item in items] == expected
        assert page.total == len(expected)


@law
@given(world=worlds(), depth=st.integers(1, 3), size=st.integers(1, 3), back=st.booleans())
def test_expanded_records_are_those_of_the_relation(
    store: Store, world: World, depth: int, size: int, back: bool
) -> None:
    def wish(name: str, left: int) -> dict[str, Any]:
        if left == 0:
            return {}
        ones = {relation: {"expand": wish(to, left - 1)} for relation, to in ONE[name].items()}
        manys = {
            relation: {
                "pageSize": size,
                "sort": "-id" if back else "id",
                "where": {"rank": {"ne": 1}},
                "expand": wish(to, left - 1),
            }
            for relation, to in MANY[name].items()
        }
        chosen = list({**ones, **manys}.items())
        return dict(chosen if depth < 3 else chosen[::3])

    def shown(node: Node | None, wishes: dict[str, Any]) -> Node | None:
        if node is None:
            return None
        found = {"id": node["id"], "label": node["label"], "rank": node["rank"]}
        for relation, options in wishes.items():
            if relation in ONE[node["entity"]]:
                found[relation] = shown(node[relation], options["expand"])
                continue
            inner = [other for other in node[relation] if other["rank"] != 1]
            inner.sort(key=lambda other: str(other["id"]), reverse=back)
            found[relation] = {
                "items": [shown(other, options["expand"]) for other in inner[:size]],
                "pageInfo": {"pageSize": size, "hasNextPage": len(inner) > size},
            }
        return found

    def without_extras(value: Any) -> Any:
        if isinstance(value, dict):
            extra = {"createdAt", "updatedAt", "version", "regionId", "customerId", "parentId"}
            return {k: without_extras(v) for k, v in value.items() if k not in extra}
        return [without_extras(item) for item in value] if isinstance(value, list) else value

    with store.tx.connection.transaction(force_rollback=True):
        store.fill(world)
        wishes = wish("Order", depth)

        body = {"expand": wishes, "pageSize": 10}
        order = store.entity("Order")
        query = parse_query_body(order, body, secret=SECRET, catalog=store.catalog)
        items, _ = store.items(query)
        assert without_extras(items) == [shown(node, wishes) for node in world["Order"]]


paths = st.sampled_from(["rank", "customer.rank", "customer.label", "customer.region.rank",
                         "parent.customer.rank", "parent.id"])  # fmt: skip
keys = st.lists(
    st.tuples(paths, st.booleans(), st.booleans()), min_size=1, max_size=3, unique_by=lambda k: k[0]
)


@law
@given(world=worlds(), sort=keys, size=st.integers(1, 4), backward=st.booleans())
def test_pages_sorted_by_a_path_concatenate_to_the_whole(
    store: Store, world: World, sort: list[tuple[str, bool, bool]], size: int, backward: bool
) -> None:
    def at(node: Node | None, path: str) -> Any:
        head, _, rest = path.partition(".")
        return None if node is None else at(node[head], rest) if rest else node[head]

    def compare(a: Node, b: Node) -> int:
        for path, descending, nulls_first in [*sort, ("id", sort[-1][1], False)]:
            x, y = at(a, path), at(b, path)
            if x == y:
                continue
            if x is None or y is None:
                return -1 if (x is None) == nulls_first else 1
            return -1 if (x < y) != descending else 1
        return 0

    with store.tx.connection.transaction(force_rollback=True):
        store.fill(world)
        spelt = ",".join(
            f"{'-' if descending else ''}{path}{'.nullsFirst' if first else ''}"
            for path, descending, first in sort
        )
        query = store.query("Order", sort=spelt, pageSize=str(size), fields="id")
        expected = [node["id"] for node in sorted(world["Order"], key=cmp_to_key(compare))]
        seen: list[str] = []
        if backward and expected:
            _, whole = store.items(replace(query, page_size=1000))
            seal = Seal(SECRET, query)
            last = seal.position(seal.cursor(whole.last), backward=True)
            query, expected = replace(query, position=last), expected[:-1]
        while True:
            items, page = store.items(query)
            ids = [item["id"] for item in items]
            seen = [*ids, *seen] if query.position and query.position.backward else [*seen, *ids]
            if not page.more:
                break
            seal = Seal(SECRET, query)
            going_back = backward and bool(query.position)
            place = seal.cursor(page.first if going_back else page.last)
            query = replace(query, position=seal.position(place, backward=going_back))
        assert seen == expected


@law
@given(world=worlds(), data=st.data())
def test_a_related_list_is_the_relation_of_one_record(
    store: Store, world: World, data: st.DataObject
) -> None:
    with store.tx.connection.transaction(force_rollback=True):
        store.fill(world)
        name = data.draw(st.sampled_from(ENTITIES))
        for relation, target in {**ONE[name], **MANY[name]}.items():
            hop = hop_of(store.entity(name), relation, store.catalog)
            assert hop is not None
            for node in world[name]:
                linked = LinkedFrom(store.entity(name), hop, UUID(node["id"]))
                items, _ = store.items(replace(store.query(target), filter=linked))
                related = node[relation] if relation in MANY[name] else [node[relation]]
                expected = sorted(other["id"] for other in related if other)
                assert [item["id"] for item in items] == expected


@law
@given(
    world=worlds(), words=st.lists(st.sampled_from(["a", "B", "_", "0%"]), min_size=1, max_size=2)
)
def test_a_search_finds_every_word(store: Store, world: World, words: list[str]) -> None:
    with store.tx.connection.transaction(force_rollback=True):
        store.fill(world)
        items, _ = store.items(store.query("Order", q=" ".join(words)))
        expected = [
            node["id"]
            for node in world["Order"]
            if all(word.lower() in (node["label"] or "").lower() for word in words)
        ]
        assert [item["id"] for item in items] == expected

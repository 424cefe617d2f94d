"""One question, four ways to ask it: REST's `filter` and `where`, a compiled GraphQL document, and the
same document answered level by level. All give the same records."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.graphql.documents import Documents, Rules
from api.graphql.engine import planned
from api.graphql.loading import Loading
from api.graphql.schema import schema_for
from api.graphql.sealing import has_cursors, sealed
from hubblewave_pipelines.core.entity import Catalog, FieldKind
from hubblewave_pipelines.core.query import LISTS, OPERATORS, Operator
from hubblewave_pipelines.storage.catalog import load_catalog
from hubblewave_pipelines.storage.database import AsyncDatabase, Role
from tests.facade.conftest import Standing

SECRET = b"differential"
TEXTS = ["a", "Ab", "b,c", "x_y", "50%", "back\\slash", "é", "A", " "]
KINDS = {
    "label": FieldKind.TEXT,
    "rank": FieldKind.INTEGER,
    "score": FieldKind.NUMBER,
    "total": FieldKind.DECIMAL,
    "done": FieldKind.BOOLEAN,
    "day": FieldKind.DATE,
    "seenAt": FieldKind.DATETIME,
    "ref": FieldKind.UUID,
    "state": FieldKind.ENUM,
    "mail": FieldKind.EMAIL,
}
VALUES: dict[FieldKind, list[Any]] = {
    FieldKind.TEXT: TEXTS,
    FieldKind.INTEGER: [-1, 0, 3, 2**40],
    FieldKind.NUMBER: [-1.5, 0, 2.25, 1e300],
    FieldKind.DECIMAL: ["-1.50", "0", "10.10", "12345678901234567890.12"],
    FieldKind.BOOLEAN: [True, False],
    FieldKind.DATE: ["2026-01-01", "2026-02-28", "1999-12-31"],
    FieldKind.DATETIME: ["2026-01-01T00:00:00Z", "2026-01-01T12:30:00.000001Z"],
    FieldKind.UUID: [f"00000000-0000-4000-8000-00000000000{n}" for n in range(3)],
    FieldKind.ENUM: ["new", "won't fix"],
    FieldKind.EMAIL: ["a@x.org", "B@y.org"],
}


def _fields() -> list[dict[str, Any]]:
    made = [{"name": name, "type": kind.value} for name, kind in KINDS.items()]
    for field in made:
        if field["type"] == "enum":
            field["enum"] = VALUES[FieldKind.ENUM]
    return made


PARENT = {"name": "Parent", "pluralName": "Parents", "fields": _fields()}
TAG = {"name": "Tag", "pluralName": "Tags", "fields": [{"name": "label", "type": "text"}]}
CHILD = {
    "name": "Child",
    "pluralName": "Children",
    "fields": _fields(),
    "relationships": [
        {"name": "parent", "type": "manyToOne", "targetEntity": "Parent"},
        {"name": "tags", "type": "manyToMany", "targetEntity": "Tag"},
    ],
}
PARENT_WITH_CHILDREN = {
    **PARENT,
    "relationships": [
        {"name": "children", "type": "oneToMany", "targetEntity": "Child", "field": "parentId"}
    ],
}


@dataclass
class Rig:
    client: httpx.Client
    catalog: Catalog
    database: AsyncDatabase
    runner: asyncio.Runner

    def ask(self, document: str, variables: object) -> dict[str, Any]:
        """The data of a document answered by one statement, over HTTP."""
        body = {"query": document, "variables": variables}
        found = self.client.post("/graphql", json=body).json()
        assert "errors" not in found, (document, found)
        data: dict[str, Any] = found["data"]
        return data

    def both(self, document: str, variables: dict[str, Any]) -> tuple[str, str]:
        """The data as one statement writes it, and as it is loaded level by level."""
        rules = Rules(introspection=False, max_depth=20, max_cost=10**9)
        operation = Documents(schema_for(self.catalog), rules).operation(document, None)
        plan = planned(operation, variables, SECRET)

        async def run() -> tuple[str, Any]:
            async with self.database.transaction(self.catalog.tenant_id) as tx:
                text = await tx.one(plan.statement) or ""
                loading = Loading(tx, operation, variables, SECRET)
                return text, await loading.data()

        text, loaded = self.runner.run(run())
        compiled = sealed(text, plan.members, SECRET) if has_cursors(plan.members) else text
        return _plain(compiled), _plain(json.dumps(loaded))


def _plain(text: str) -> str:
    """Members in their order; 0 and 0.0 are one number."""
    return json.dumps(json.loads(text, parse_int=float))


@pytest.fixture(scope="module")
def rig(standing: Standing) -> Iterator[Rig]:
    with standing.client() as client, asyncio.Runner() as runner:
        for body in (PARENT, TAG, CHILD):
            client.post("/api/v1/entities", json=body).raise_for_status()
        client.put("/api/v1/entities/Parent", json=PARENT_WITH_CHILDREN).raise_for_status()

        def made(path: str, number: int, **more: object) -> list[str]:
            items = [
                {
                    name: None
                    if (row + place) % 4 == 0
                    else values[(row * 7 + place) % len(values)]
                    for place, (name, kind) in enumerate(KINDS.items())
                    for values in [VALUES[kind]]
                }
                for row in range(number)
            ]
            for row, item in enumerate(items):
                item.update({k: v[row % len(v)] for k, v in more.items() if isinstance(v, list)})
            answer = client.post(f"/api/v1/{path}/bulk", json={"items": items}).raise_for_status()
            return [item["id"] for item in answer.json()["items"]]

        parents = made("parents", 9)
        children = made("children", 31, parentId=[*parents[:5], None])
        items = [{"label": text} for text in TEXTS[:4]]
        answer = client.post("/api/v1/tags/bulk", json={"items": items}).raise_for_status()
        tags = [item["id"] for item in answer.json()["items"]]
        for row, child in enumerate(children):
            for tag in tags[: row % 4]:
                client.put(f"/api/v1/children/{child}/tags/{tag}").raise_for_status()
        with standing.owner.transaction(standing.tenant.id) as tx:
            catalog = load_catalog(tx, standing.tenant.id)
        database = AsyncDatabase(standing.owner.url, Role.APP, size=1)
        runner.run(database.open())
        yield Rig(client, catalog, database, runner)
        runner.run(database.close())


law = settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@st.composite
def terms(draw: st.DrawFn) -> tuple[list[str], str, Any]:
    """One condition on a child: where its field is, the operator, the literal."""
    place = draw(st.sampled_from([(), ("parent",), ("tags", "some"), ("tags", "none")]))
    name = "label" if "tags" in place else draw(st.sampled_from([*KINDS, "id", "version"]))
    kind = KINDS.get(name, {"id": FieldKind.UUID, "version": FieldKind.INTEGER}.get(name))
    assert kind is not None
    operator = draw(st.sampled_from(sorted(OPERATORS[kind])))
    one = st.sampled_from(VALUES[kind])
    if operator is Operator.IS_NULL:
        literal: Any = draw(st.booleans())
    elif operator is Operator.BETWEEN:
        literal = [draw(one), draw(one)]
    elif operator in LISTS:
        literal = draw(st.lists(one, min_size=1, max_size=3))
    elif operator is Operator.LIKE:
        literal = draw(st.sampled_from(["%", "a%", "_b", "%\\%", "x\\_y"]))
    else:
        literal = draw(one)
    return [*place, name], operator.value, literal


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(_text(v).replace("\\", "\\\\").replace(",", "\\,") for v in value)
    return json.dumps(value) if isinstance(value, bool | int | float) else str(value)


def _where(path: list[str], operator: str, literal: Any) -> dict[str, Any]:
    found: dict[str, Any] = {path[-1]: {operator: literal}}
    for name in reversed(path[:-1]):
        found = {name: found}
    return found


def _input(path: list[str], operator: str, literal: Any) -> dict[str, Any]:
    found: dict[str, Any] = {f"{path[-1]}_{operator}": literal}
    for name in reversed(path[:-1]):
        found = {name: found}
    return found


LIST = """query ($f: ChildFilterInput) {
  children(filter: $f, pagination: {pageSize: 100}) { items { id } pageInfo { totalItems } } }"""


@law
@given(
    conditions=st.lists(terms(), min_size=1, max_size=3),
    shape=st.sampled_from("and or not".split()),
)
def test_a_filter_means_the_same_however_it_is_asked(
    rig: Rig, conditions: list[tuple[list[str], str, Any]], shape: str
) -> None:
    wheres = [_where(*condition) for condition in conditions]
    inputs: list[dict[str, Any]] = [_input(*condition) for condition in conditions]
    combined = {"not": {"or": wheres}} if shape == "not" else {shape: wheres}
    filters = {"not": {"or": inputs}} if shape == "not" else {shape: inputs}
    parameters = {"where": json.dumps(combined), "pageSize": "100", "count": "exact"}
    answer = rig.client.get("/api/v1/children", params=parameters).raise_for_status().json()
    by_where = [item["id"] for item in answer["items"]]
    compiled = rig.ask(LIST, {"f": filters})["children"]
    assert [item["id"] for item in compiled["items"]] == by_where
    assert compiled["pageInfo"]["totalItems"] == answer["pageInfo"]["totalItems"]
    one, other = rig.both(LIST, {"f": filters})
    assert one == other
    assert [item["id"] for item in json.loads(one)["children"]["items"]] == by_where
    if shape == "and":
        given = [
            ("filter" + "".join(f"[{step}]" for step in [*path, operator]), _text(literal))
            for path, operator, literal in conditions
        ]
        if len({name for name, _ in given}) == len(given):
            found = rig.client.get("/api/v1/children", params=[*given, ("pageSize", "100")])
            assert found.status_code == 200, found.text
            assert [item["id"] for item in found.json()["items"]] == by_where


def _arguments(draw: st.DrawFn, entity: str) -> str:
    size = draw(st.integers(1, 4))
    page = draw(st.integers(1, 3))
    given = [f"pagination: {{pageSize: {size}, page: {page}}}"]
    if draw(st.booleans()):
        name = "label" if entity == "Tag" else draw(st.sampled_from(sorted({*KINDS} - {"done"})))
        order = draw(st.sampled_from(["ASC", "DESC"]))
        nulls = draw(st.sampled_from(["true", "false"]))
        given.append(f'sort: {{field: "{name}", order: {order}, nullsFirst: {nulls}}}')
    if draw(st.booleans()):
        given.append('filter: {label_ne: "a"}')
    return f"({', '.join(given)})"


MANY = {"Parent": [("children", "Child")], "Child": [("tags", "Tag")], "Tag": []}
FACTS = ["pageSize", "currentPage", "totalItems", "totalPages", "hasNextPage", "hasPreviousPage"]


GROUPS = {
    "Tag": ["", '(groupBy: "label")'],
    "Parent": ["", '(groupBy: ["state", "day.month"], pageSize: 3)', "(page: 2)"],
    "Child": ["", '(groupBy: "parent.state", orderBy: [{field: "count", order: DESC}])'],
}
MEASURES = (
    ["min { label version }", "__typename"],
    [
        "sum { rank score total __typename }",
        "avg { rank score total }",
        "max { day seenAt label mail }",
        "countDistinct { label done ref } countValues { id state }",
    ],
)


def _record(draw: st.DrawFn, entity: str, depth: int) -> str:
    own = ["id", "version", "__typename", "label"]
    own += [] if entity == "Tag" else [*KINDS]
    chosen = draw(st.lists(st.sampled_from(own), min_size=1, max_size=4))
    if draw(st.booleans()):
        chosen.append(f"other: {draw(st.sampled_from(own))}")
    if depth and entity == "Child" and draw(st.booleans()):
        chosen.append(f"parent {_record(draw, 'Parent', depth - 1)}")
    for relation, target in MANY[entity] if depth else []:
        if draw(st.booleans()):
            inside = _record(draw, target, depth - 1)
            chosen.append(f"{relation}{_arguments(draw, target)} {inside}")
        if draw(st.booleans()):
            page = _page(draw, target, depth - 1)
            chosen.append(f"p: {relation}Connection{_arguments(draw, target)} {page}")
    return f"{{ {' '.join(chosen)} }}"


def _page(draw: st.DrawFn, entity: str, depth: int) -> str:
    parts = [f"items {_record(draw, entity, depth)}"]
    if draw(st.booleans()):
        parts.append(f"edges {{ cursor n: node {_record(draw, entity, depth)} }}")
    if draw(st.booleans()):
        facts = draw(st.lists(st.sampled_from([*FACTS, "startCursor", "endCursor"]), min_size=1))
        parts.append(f"pageInfo {{ {' '.join(facts)} }} totalCount")
    if draw(st.booleans()):
        by = draw(st.sampled_from(GROUPS[entity]))
        measures = draw(st.lists(st.sampled_from(MEASURES[entity != "Tag"]), max_size=2))
        parts.append(f"aggregate{by} {{ count group {' '.join(measures)} }}")
    return f"{{ {' '.join(draw(st.permutations(parts)))} }}"


@st.composite
def documents(draw: st.DrawFn) -> str:
    roots = [("parents", "Parent"), ("children", "Child")]
    chosen = draw(st.lists(st.sampled_from(roots), min_size=1, max_size=2))
    fields = [
        f"r{number}: {plural}{_arguments(draw, entity)} {_page(draw, entity, 3)}"
        for number, (plural, entity) in enumerate(chosen)
    ]
    return f"{{ {' '.join(fields)} }}"


@law
@given(document=documents())
def test_one_statement_answers_as_the_library_would(rig: Rig, document: str) -> None:
    compiled, loaded = rig.both(document, {})
    assert compiled == loaded, document


@settings(law, max_examples=25)
@given(
    condition=terms(),
    group=st.sampled_from(["", "state", "parent.state", "day.quarter", "seenAt.hour", "parentId"]),
    more=st.sampled_from(["", "done"]),
    descending=st.booleans(),
)
def test_groups_are_those_of_rest(
    rig: Rig, condition: tuple[list[str], str, Any], group: str, more: str, descending: bool
) -> None:
    groups = [name for name in (group, more) if name]
    parameters = {
        "aggregate[count]": "*,label",
        "aggregate[countDistinct]": "state,total",
        "aggregate[sum]": "rank,total",
        "aggregate[avg]": "score,total,rank",
        "aggregate[min]": "day,label,total",
        "aggregate[max]": "seenAt,mail,score",
        "where": json.dumps(_where(*condition)),
        "sort": f"{'-' if descending else ''}sum.total,count.*",
        "pageSize": "5",
    }
    if groups:
        parameters["groupBy"] = ",".join(groups)
    answer = rig.client.get("/api/v1/children/aggregate", params=parameters).raise_for_status()
    wanted = [
        {
            "group": {},
            **item,
            "count": item["count"]["*"],
            "records": item["count"]["*"],
            "countValues": {"label": item["count"]["label"]},
        }
        for item in answer.json()["items"]
    ]
    document = """query ($f: ChildFilterInput, $by: [String!], $order: SortOrder) {
      children(filter: $f, pagination: {pageSize: 1}) { aggregate(groupBy: $by, pageSize: 5,
        orderBy: [{field: "sum.total", order: $order}, {field: "count"}]) {
          group count records: count countValues { label } countDistinct { state total }
          sum { rank total }
          avg { score total rank } min { day label total } max { seenAt mail score } } } }"""
    variables = {
        "f": _input(*condition),
        "by": groups or None,
        "order": "DESC" if descending else "ASC",
    }
    found = rig.ask(document, variables)["children"]["aggregate"]
    assert found == wanted
    compiled, loaded = rig.both(document, variables)
    assert compiled == loaded

"""What is kept of a document between requests: it changes nothing of what is asked of the database."""

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.graphql.documents import Documents, Operation, Rules
from api.graphql.engine import planned
from api.graphql.lasting import Known
from api.graphql.schema import schema_for
from hubblewave_pipelines.core.definition import parse_definition
from hubblewave_pipelines.core.entity import Catalog
from hubblewave_pipelines.core.errors import PlatformError

RULES = Rules(introspection=False, max_depth=20, max_cost=60_000)
FIELDS = [
    {"name": "label", "type": "text"},
    {"name": "rank", "type": "integer"},
    {"name": "total", "type": "decimal"},
    {"name": "day", "type": "date"},
    {"name": "state", "type": "enum", "enum": ["new", "done"]},
]
OWNER = {"name": "Owner", "pluralName": "owners", "fields": FIELDS}
CHILD = {
    "name": "Child",
    "pluralName": "children",
    "fields": FIELDS,
    "relationships": [{"name": "owner", "type": "manyToOne", "targetEntity": "Owner"}],
}
CHILDREN = {"name": "children", "type": "oneToMany", "targetEntity": "Child", "field": "ownerId"}
# A variable as a whole value, inside a filter, a list and a page, behind a directive, in a fragment.
DOCUMENT = """
query ($label: String, $word: String! = "a", $labels: [String!], $rank: Int, $total: Decimal, $day: String,
    $size: Int, $null: Boolean, $show: Boolean! = true, $filter: OwnerFilterInput) {
  owners(filter: {or: [{label: $label, rank_gte: $rank}, {label_in: $labels}, {total_lt: $total}],
      day: $day, state: "new", rank_isNull: $null}, pagination: {pageSize: $size}) {
    items { id label ...More children(filter: {label_in: ["a", "b"]}) { id state owner { label } } }
    edges { node { id children(filter: {label_in: [$word, "b"], total_gt: "1.50"}) { id } } }
    totalCount
  }
  again: owners(filter: $filter) { items { id same: label children { total rank @include(if: $show) } } }
}
fragment More on Owner { ...Rest  day @include(if: $show)  total }
fragment Rest on Owner { state some: children(pagination: {pageSize: $size}) { rank label } }
"""


def _mostly(values: list[Any], *refused: Any) -> st.SearchStrategy[Any]:
    """One of what is taken, and now and then something that is not."""
    return st.sampled_from([*values * 6, *refused])


TEXT = st.sampled_from(["a", "b", "", "%", "1"])
TEXTS = st.lists(TEXT, min_size=1, max_size=3)
FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "label": TEXT,
        "label_in": TEXTS,
        "rank": _mostly([-1, 2], None),
        "rank_isNull": st.booleans(),
        "total_between": st.just(["1", "2"]),
        "state": _mostly(["new", "done"], "other"),
        "children": st.fixed_dictionaries({"some": st.fixed_dictionaries({"label": TEXT})}),
    },
)
VARIABLES = st.fixed_dictionaries(
    {},
    optional={
        "label": _mostly(["a", "b", "1"], None),
        "word": TEXT,
        "labels": _mostly([["a"], ["a", "b"], ["b", "a", "1"]], [], None),
        "rank": _mostly([-1, 0, 2], None),
        "total": _mostly(["1", "1.0", "1.50"], "x", None),
        "day": _mostly(["2026-01-01", "2026-02-28"], "not a day", None),
        "size": _mostly([1, 2, 9], 0, 900, None),
        "null": _mostly([True, False], None),
        "show": st.booleans(),
        "filter": st.none() | FILTERS,
    },
)


@pytest.fixture(scope="module")
def operation() -> Operation:
    catalog = Catalog(UUID(int=1), 1, ())
    for body in (OWNER, CHILD):
        made = parse_definition(body, tenant_schema="t_aaaaaaaa", catalog=catalog)
        catalog = Catalog(catalog.tenant_id, 1, (*catalog.entities, made))
    own = {**OWNER, "relationships": [CHILDREN]}
    [first, child] = catalog.entities
    made = parse_definition(own, tenant_schema="t_aaaaaaaa", catalog=catalog, existing=first)
    catalog = Catalog(catalog.tenant_id, 1, (made, child))
    return Documents(schema_for(catalog), RULES).operation(DOCUMENT, None)


def _plan(operation: Operation, variables: dict[str, Any], known: Known | None) -> tuple[Any, ...]:
    """What is asked of the database, or why nothing is."""
    try:
        plan = planned(operation, variables, b"secret", known)
    except PlatformError as refused:
        return type(refused), refused.detail, refused.context
    params = [(type(value), value) for value in plan.statement.params]
    return plan.statement.text, params, plan.members, plan.cost


@settings(max_examples=40, deadline=None)
@given(asked=st.lists(VARIABLES, min_size=2, max_size=6))
def test_what_is_kept_of_a_document_changes_no_statement(
    operation: Operation, asked: list[dict[str, Any]]
) -> None:
    known = Known(operation.definition, operation.fragments)
    for variables in [*asked, *asked]:
        assert _plan(operation, variables, known) == _plan(operation, variables, None)


def test_what_holds_no_variable_is_kept(operation: Operation) -> None:
    known = Known(operation.definition, operation.fragments)
    planned(operation, {"size": 1}, b"secret", known)
    kept = len(known)
    assert kept > 0
    planned(operation, {"size": 1, "label": "b", "labels": ["x"]}, b"secret", known)
    assert len(known) == kept

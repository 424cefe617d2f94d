"""Introspection as we write it is what the library writes, to the order of its members."""

import json
from typing import Any
from uuid import UUID

import pytest
from graphql import (
    GraphQLArgument,
    GraphQLField,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLObjectType,
    GraphQLString,
    execute_sync,
    get_introspection_query,
    get_named_type,
    parse,
)
from graphql.type.introspection import introspection_types
from hypothesis import given, settings
from hypothesis import strategies as st

from api.graphql.documents import Documents, Rules
from api.graphql.engine import planned
from api.graphql.introspection import introspected
from api.graphql.naming import Form
from api.graphql.schema import TenantSchema, schema_for
from hubblewave_pipelines.core.definition import parse_definition
from hubblewave_pipelines.core.entity import Catalog
from tests.facade import rich

RULES = Rules(introspection=True, max_depth=40, max_cost=10**9)


@pytest.fixture(scope="module")
def schema() -> TenantSchema:
    """Of every kind of field and relation, with descriptions."""
    catalog = Catalog(UUID(int=1), 1, ())
    for body in (rich.CUSTOMER, rich.TAG, rich.ORDER):
        made = parse_definition(body, tenant_schema="t_aaaaaaaa", catalog=catalog)
        catalog = Catalog(catalog.tenant_id, 1, (*catalog.entities, made))
    [customer, tag, order] = catalog.entities
    relation = {"name": "orders", "type": "oneToMany", "targetEntity": "Order"}
    body = {
        **rich.CUSTOMER,
        "relationships": [*rich.CUSTOMER["relationships"], {**relation, "field": "customerId"}],
    }
    made = parse_definition(body, tenant_schema="t_aaaaaaaa", catalog=catalog, existing=customer)
    schema = schema_for(Catalog(catalog.tenant_id, 1, (made, tag, order)))
    # Nothing that a definition can say deprecates anything yet; the writer must not rely on it.
    record, query = schema.object(Form.OBJECT, order), schema.graphql.query_type
    values = schema.type(Form.INPUT, order)
    assert isinstance(values, GraphQLInputObjectType)
    assert query is not None
    record.fields["old"] = GraphQLField(GraphQLString, deprecation_reason='Say "number".')
    values.fields["old"] = GraphQLInputField(GraphQLString, deprecation_reason="Likewise.")
    old = GraphQLArgument(GraphQLString, "x", deprecation_reason="Likewise.")
    record.fields["tags"].args["old"] = query.fields["orders"].args["old"] = old
    return schema


def _both(schema: TenantSchema, document: str, variables: dict[str, Any]) -> tuple[str, str]:
    """What we write and what the library does, each as text."""
    operation = Documents(schema, RULES).operation(document, None)
    asked = planned(operation, variables, b"secret").asked
    coerced = operation.variables(variables)
    ours = introspected(schema.graphql, operation.fragments, coerced, asked)
    found = execute_sync(schema.graphql, parse(document), variable_values=variables)
    assert found.errors is None
    assert found.data is not None
    # What is not about the schema is not executed by either.
    theirs = {name: found.data[name] for name in asked}
    return json.dumps({k: json.loads(v) for k, v in ours.items()}), json.dumps(theirs)


REFERENCE = (
    "fragment Ref on __Type { kind name ofType { kind name ofType { name ofType { kind } } } }"
)
DOCUMENTS = {
    "everything": get_introspection_query(
        specified_by_url=True,
        directive_is_repeatable=True,
        schema_description=True,
        input_value_deprecation=True,
        input_object_one_of=True,
    ),
    "as-older-clients-ask": get_introspection_query(descriptions=False),
    "one-type": """{ __type(name: "Order") { name description fields(includeDeprecated: true) {
      name isDeprecated deprecationReason type { ...Ref } args(includeDeprecated: false) {
        name defaultValue isDeprecated type { ...Ref } } } } } """
    + REFERENCE,
    "no-such-type": '{ __type(name: "Nothing") { name fields { name } } }',
    "aliases": """{ a: __schema { t: types { n: name, k: kind, __typename } __typename }
      b: __type(name: "Nothing") { name } c: __type(name: "OrderInput") { x: name
        y: inputFields(includeDeprecated: true) { n: name v: defaultValue } name } }""",
    "variables": """query ($name: String!, $old: Boolean, $deep: Boolean = true) {
      __type(name: $name) { fields(includeDeprecated: $old) { name type @include(if: $deep) {
        ...Ref } type @skip(if: $deep) { name } } ... @include(if: $deep) { interfaces { name }
        possibleTypes { name } enumValues(includeDeprecated: $old) { name } } } } """
    + REFERENCE,
    "merged": """{ __schema { queryType { name } ...More queryType { kind } } }
      fragment More on __Schema { queryType { name fields { name } } mutationType { name }
        directives { name locations args { name type { name ofType { name } } } } }""",
    "a-type-within-itself": """{ __type(name: "Customer") { fields { type { name ofType { name
      fields { name type { name } } ofType { fields { name type { kind ofType { name } } } } } } }
      } }""",
    "of-introspection": '{ __type(name: "__Type") { fields { name type { name ofType { name } } } } }',
    "an-enum": """{ __type(name: "SortOrder") { name enumValues(includeDeprecated: true) { name
      description isDeprecated deprecationReason } specifiedByURL isOneOf } }""",
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_ours_is_the_librarys(schema: TenantSchema, name: str) -> None:
    variables = {"name": "Order", "old": True} if name == "variables" else {}
    ours, theirs = _both(schema, DOCUMENTS[name], variables)
    assert ours == theirs


LISTS = ("fields", "interfaces", "possibleTypes", "inputFields")


@st.composite
def selections(draw: st.DrawFn, name: str = "__Type", depth: int = 4, lists: int = 2) -> str:
    """Any part of what can be asked of a type of types, under any names, in any order."""
    kind = introspection_types[name]
    assert isinstance(kind, GraphQLObjectType)
    chosen = draw(st.lists(st.sampled_from([*kind.fields, "__typename"]), min_size=1, max_size=4))
    found = []
    for place, field in enumerate(chosen):
        text = f"m{place}: {field}" if draw(st.booleans()) else f"n{place}{depth}: {field}"
        if field != "__typename":
            asked = kind.fields[field]
            if "includeDeprecated" in asked.args and draw(st.booleans()):
                old = draw(st.sampled_from(["true", "false", "$old"]))
                text += f"(includeDeprecated: {old})"
            inner = get_named_type(asked.type)
            if isinstance(inner, GraphQLObjectType):
                left = lists - (field in LISTS)  # the library's rule: no more within each other
                if not depth or left < 0:
                    continue
                text += " " + draw(selections(inner.name, depth - 1, left))
        wrapped = draw(st.sampled_from([text, f"... on {name} {{ {text} }}"]))
        found.append(draw(st.sampled_from([wrapped, f"... @skip(if: $old) {{ {wrapped} }}"])))
    return f"{{ __typename {' '.join(found)} }}"


TYPES = [
    "Order",
    "OrderInput",
    "OrderFilterInput",
    "CustomerInput",
    "TagConnection",
    "Query",
    "Int",
    "JSON",
]


@settings(max_examples=25, deadline=None)
@given(
    selection=selections(),
    name=st.sampled_from([*TYPES, "Mutation", "__Type", "__TypeKind", "SortOrder"]),
    old=st.booleans(),
)
def test_any_selection_is_answered_as_by_the_library(
    schema: TenantSchema, selection: str, name: str, old: bool
) -> None:
    document = f"query ($old: Boolean!, $name: String!) {{ __type(name: $name) {selection} __schema @include(if: $old) {{ queryType {{ name }} }} }}"
    ours, theirs = _both(schema, document, {"old": old, "name": name})
    assert ours == theirs, document

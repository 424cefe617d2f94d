"""Request parameters become one `Query`, or one refusal that names all that is wrong."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubblewave_pipelines.core.aggregation import parse_aggregation
from hubblewave_pipelines.core.entity import (
    Catalog,
    Entity,
    Field,
    FieldKind,
    Relation,
    RelationKind,
)
from hubblewave_pipelines.core.errors import MalformedRequest
from hubblewave_pipelines.core.filters import split_list
from hubblewave_pipelines.core.parameters import parse_paging, parse_query, parse_query_body
from hubblewave_pipelines.core.query import (
    OPERATORS,
    All,
    AnyOf,
    Comparison,
    Count,
    Not,
    Operator,
    Query,
)

ENTITY = Entity(
    id="aaaaaaaa",
    slug="orders",
    name="Order",
    plural="Orders",
    schema="t_bbbbbbbb",
    fields=(
        Field(id="cccccccc", name="number", kind=FieldKind.TEXT, required=True),
        Field(id="dddddddd", name="qty", kind=FieldKind.INTEGER),
    ),
    relations=(
        Relation("eeeeeeee", "customer", RelationKind.MANY_TO_ONE, "Customer", "customerId"),
        Relation("ffffffff", "lines", RelationKind.ONE_TO_MANY, "Line", "orderId"),
    ),
)


CUSTOMER = replace(ENTITY, id="gggggggg", name="Customer", plural="Customers", relations=())
LINE = replace(
    CUSTOMER,
    id="hhhhhhhh",
    name="Line",
    plural="Lines",
    relations=(Relation("iiiiiiii", "order", RelationKind.MANY_TO_ONE, "Order", "orderId"),),
)
CATALOG = Catalog(UUID(int=0), 1, (ENTITY, CUSTOMER, LINE))


def parse(*given: tuple[str, str]) -> Query:
    return parse_query(ENTITY, given, secret=b"", catalog=CATALOG)


def faults(*given: tuple[str, str]) -> dict[str, str]:
    with pytest.raises(MalformedRequest) as refused:
        parse(*given)
    return {fault.parameter or "": fault.code for fault in refused.value.faults}


def test_a_request_without_parameters_asks_for_the_oldest_twenty() -> None:
    query = parse()
    assert (query.page, query.page_size, query.count, query.filter) == (1, 20, Count.NONE, All())
    assert [key.column.name for key in query.sort] == ["id"]
    shown = [column.name for column in query.fields]
    assert shown == ["id", "createdAt", "updatedAt", "version", "number", "qty", "customerId"]


def test_every_order_ends_in_the_id_and_in_the_direction_of_its_last_key() -> None:
    query = parse(("sort", "number,-qty.nullsFirst"))
    spelled = [(k.column.name, k.descending, k.nulls_first) for k in query.sort]
    assert spelled == [("number", False, False), ("qty", True, True), ("id", True, False)]
    assert [k.column.name for k in parse(("sort", "-id,number")).sort] == ["id"]


def test_both_filter_forms_make_one_tree() -> None:
    query = parse(
        ("filter[number]", "7"),
        ("filter[qty][in]", "1,2"),
        ("where", '{"or":[{"qty":{"gte":1,"lt":9}},{"not":{"customerId":{"isNull":true}}}]}'),
    )
    assert isinstance(query.filter, All)
    number, qty, tree = query.filter.parts
    assert isinstance(number, Comparison)
    assert (number.operator, number.value) == (Operator.EQ, "7")
    assert isinstance(qty, Comparison)
    assert qty.value == (1, 2)
    assert isinstance(tree, AnyOf)
    assert isinstance(tree.parts[0], All)
    assert isinstance(tree.parts[1], Not)


def test_all_faults_are_named_at_once() -> None:
    found = faults(("pageSize", "0"), ("sort", "nmber"), ("filter[qty]", "x"), ("colour", "red"))
    assert found == {
        "pageSize": "range",
        "sort": "unknown",
        "filter[qty]": "type",
        "colour": "unknown",
    }


def test_a_relation_is_filtered_by_its_id_field() -> None:
    with pytest.raises(MalformedRequest, match="use customerId"):
        parse(("filter[customer]", "x"))
    assert faults(("filter[lines]", "x")) == {"filter[lines]": "quantifier"}


def test_a_list_that_is_not_filtered_refuses_filters() -> None:
    with pytest.raises(MalformedRequest, match="has no filters"):
        parse_paging([("filter[x]", "1")])
    assert parse_paging([("page", "3"), ("pageSize", "7")]).offset == 14
    assert parse_paging([("status", "failed")], "status").page == 1


def test_every_kind_has_its_operators() -> None:
    assert OPERATORS.keys() == set(FieldKind)
    assert all(Operator.IS_NULL in offered for offered in OPERATORS.values())


@given(items=st.lists(st.text(), min_size=1))
def test_a_list_of_values_splits_as_it_was_joined(items: list[str]) -> None:
    joined = ",".join(item.replace("\\", "\\\\").replace(",", "\\,") for item in items)
    assert split_list(joined) == items


names = st.sampled_from(
    ["page", "pageSize", "after", "before", "sort", "fields", "count", "where", "filter[number]"]
) | st.text(max_size=12).map(lambda text: f"filter[qty][{text}]")


@given(given=st.lists(st.tuples(names, st.text(max_size=20)), max_size=5))
def test_no_parameters_whatever_raise_anything_but_a_refusal(given: list[tuple[str, str]]) -> None:
    with suppress(MalformedRequest):
        assert isinstance(parse(*given), Query)


pieces = st.sampled_from(
    "customer lines order number qty id some every pageSize fields where sort expand nullsFirst "
    ". , ; = ( ) [ ] { } : - 1 % \\ * \x00".split(" ")
) | st.sampled_from(
    [
        '"',
        "{}",
        '{"qty":1}',
        '{"\\ud800":1}',
        '{"qty":{"\\ud800":1}}',
        "(expand=",
        "filter[lines]",
        "aggregate[sum]",
    ]
)
spelt = st.lists(pieces, max_size=9).map("".join)
parameters = st.sampled_from(
    [
        "expand",
        "fields",
        "sort",
        "q",
        "where",
        "groupBy",
        "filter[customer.qty]",
        "aggregate[count]",
    ]
) | spelt.map(lambda text: f"filter[{text}]")
bodies = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | spelt,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(spelt, inner, max_size=3),
    max_leaves=8,
)


def check_refusal(read: Callable[[], object]) -> None:
    """What is read is a question, or refused with its place in words that can be sent."""
    refused = None
    try:
        read()
    except MalformedRequest as error:
        refused = error
    if refused is not None:
        refused.detail.encode()
        assert all(fault.detail and (fault.parameter or fault.pointer) for fault in refused.faults)
        assert refused.faults


@given(given=st.lists(st.tuples(parameters, spelt), max_size=4))
def test_what_looks_like_a_question_is_answered_or_refused(given: list[tuple[str, str]]) -> None:
    check_refusal(lambda: parse(*given))
    check_refusal(lambda: parse_aggregation(ENTITY, given, catalog=CATALOG))


@given(body=bodies | st.dictionaries(parameters, bodies, max_size=4))
def test_a_body_is_a_question_or_refused(body: object) -> None:
    check_refusal(lambda: parse_query_body(ENTITY, body, secret=b"", catalog=CATALOG))


@given(value=st.text('a"\\();,=', max_size=6))
def test_an_expansion_filters_by_any_text(value: str) -> None:
    where = json.dumps({"number": value})
    query = parse(("expand", f"customer,lines(where={where};pageSize=3)"))
    [_, lines] = query.related
    assert isinstance(lines.filter, Comparison)
    assert (lines.filter.value, lines.page_size) == (value, 3)

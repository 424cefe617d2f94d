"""Groups of records and what is computed over them: the field `aggregate` of a page.

Its arguments and selections are REST's `/aggregate` in GraphQL's words, read by the same parser.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from graphql import (
    GraphQLArgument,
    GraphQLField,
    GraphQLFloat,
    GraphQLList,
    GraphQLNonNull,
    GraphQLString,
)

from api.graphql.arguments import sort_text, whole
from api.graphql.naming import Form
from api.graphql.scalars import JSON, Decimal, Int, scalar_of
from api.graphql.shared import INT, SORTING, Arguments
from hubblewave_pipelines.core.aggregation import (
    DEFAULT_GROUPS,
    FUNCTIONS,
    Function,
    Measure,
    aggregation_of,
    measure_of,
)
from hubblewave_pipelines.core.entity import Catalog, Entity, FieldKind
from hubblewave_pipelines.core.parameters import DEEPEST_ROW
from hubblewave_pipelines.core.query import All, Column, columns_of
from hubblewave_pipelines.core.selections import MAX_SIZE
from hubblewave_pipelines.core.shapes import Groups, Measured, Measures, OfGroup
from hubblewave_pipelines.core.values import Refused

GROUP = GraphQLField(
    GraphQLNonNull(JSON), description="What groupBy names, with the values of this group."
)
GROUPING: Arguments = {
    "groupBy": GraphQLArgument(
        GraphQLList(GraphQLNonNull(GraphQLString)),
        description="Fields, also along manyToOne relations (customer.tier), and parts of dates "
        "(placedOn.month). Without it, all records are one group.",
    ),
    **SORTING,
    "page": GraphQLArgument(Int, default_value=1),
    "pageSize": GraphQLArgument(Int, default_value=DEFAULT_GROUPS, description="At most 1,000."),
}
# The fields of a group that hold a value for each field of the record.
MEASURES: Mapping[str, Form] = {
    "countValues": Form.VALUE_COUNTS,
    "countDistinct": Form.DISTINCT_COUNTS,
    "sum": Form.SUMS,
    "avg": Form.AVERAGES,
    "min": Form.EXTREMES,
    "max": Form.EXTREMES,
}
_OF_FORMS = {
    Form.VALUE_COUNTS: Function.COUNT,
    Form.DISTINCT_COUNTS: Function.COUNT_DISTINCT,
    Form.SUMS: Function.SUM,
    Form.AVERAGES: Function.AVG,
    Form.EXTREMES: Function.MIN,
}
RECORDS = Measure(Function.COUNT, None)


def _function(field: str) -> Function:
    return Function.COUNT if field == "countValues" else Function(field)


def measure_fields(entity: Entity, form: Form) -> dict[str, GraphQLField]:
    """A value for each field that has the function; one of each entity is its version."""
    function = _OF_FORMS[form]
    return {
        column.name: _measure_field(entity, column, function)
        for column in columns_of(entity)
        if column.kind in FUNCTIONS[function]
    }


def _measure_field(entity: Entity, column: Column, function: Function) -> GraphQLField:
    if function in (Function.COUNT, Function.COUNT_DISTINCT):
        return GraphQLField(INT)
    if function is Function.AVG:
        return GraphQLField(Decimal if column.kind is FieldKind.DECIMAL else GraphQLFloat)
    reference = column.name in entity.references
    return GraphQLField(scalar_of(column.kind, column.name, reference=reference))


def measured(entity: Entity, key: str, field: str, of: str) -> Measured:
    """What the field `of` below `field` shows, under `key`. Raises Refused."""
    return Measured(key, measure_of(entity, _function(field), of))


def _ranked(sort: str) -> str:
    """Sort keys in REST's words, where records are `count.*`."""
    keys = []
    for key in sort.split(","):
        name = key.removeprefix("-")
        if name == "count":
            name = "count.*"
        elif name.startswith("countValues."):
            name = f"count.{name.removeprefix('countValues.')}"
        keys.append(f"{'-' if key.startswith('-') else ''}{name}")
    return ",".join(keys)


def groups(
    key: str,
    entity: Entity,
    arguments: Mapping[str, Any],
    members: Sequence[OfGroup],
    catalog: Catalog,
) -> Groups:
    """The field `aggregate`, shown under `key` with these members of each group. Raises Refused."""
    measures = [RECORDS]  # one group has nothing to be made of but a measure
    for member in members:
        parts = member.parts if isinstance(member, Measures) else ()
        measures += [part.measure for part in parts if isinstance(part, Measured)]
    names = arguments.get("groupBy")
    if names and any("," in name for name in names):
        raise Refused("format", "groupBy names one field in each string")
    sort = sort_text(arguments)
    asked = aggregation_of(
        entity,
        measures,
        group_by=",".join(names) if names else None,
        sort=None if sort is None else _ranked(sort),
        asked=All(),
        page=whole(arguments.get("page"), "page", DEEPEST_ROW),
        size=whole(arguments.get("pageSize"), "pageSize", MAX_SIZE),
        catalog=catalog,
    )
    if asked.page * asked.page_size > DEEPEST_ROW:
        raise Refused("range", f"the page of groups ends beyond row {DEEPEST_ROW}")
    return Groups(key, asked, tuple(members))

"""What the schemas of all tenants share: types without an entity in them, and arguments."""

from functools import cache

from graphql import (
    GraphQLArgument,
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLField,
    GraphQLID,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLString,
)
from graphql.type import GraphQLScalarType

from api.graphql.scalars import JSON, Decimal, Int
from hubblewave_pipelines.core.query import LISTS, PATTERNS, Operator

Arguments = dict[str, GraphQLArgument]

ID = GraphQLNonNull(GraphQLID)
INT = GraphQLNonNull(Int)
BOOLEAN = GraphQLNonNull(GraphQLBoolean)

SortOrder = GraphQLEnumType("SortOrder", {"ASC": "ASC", "DESC": "DESC"})
PageInfo = GraphQLObjectType(
    "PageInfo",
    {
        "currentPage": GraphQLField(Int, description="Null for a page found by cursor."),
        "pageSize": GraphQLField(INT),
        "totalPages": GraphQLField(INT, description="Costs a count of all records that match."),
        "totalItems": GraphQLField(INT, description="Costs a count of all records that match."),
        "hasNextPage": GraphQLField(BOOLEAN),
        "hasPreviousPage": GraphQLField(BOOLEAN),
        "startCursor": GraphQLField(GraphQLString),
        "endCursor": GraphQLField(GraphQLString),
    },
    description="What a page says of itself. What is not asked for costs nothing.",
)
PaginationInput = GraphQLInputObjectType(
    "PaginationInput",
    {
        "page": GraphQLInputField(Int, default_value=1),
        "pageSize": GraphQLInputField(Int, default_value=20, description="At most 1,000."),
        "after": GraphQLInputField(GraphQLString, description="An endCursor; instead of page."),
        "before": GraphQLInputField(GraphQLString, description="A startCursor; instead of page."),
    },
)
SortInput = GraphQLInputObjectType(
    "SortInput",
    {
        "field": GraphQLInputField(
            GraphQLNonNull(GraphQLString),
            description="A field of the record, or along manyToOne relations: customer.name.",
        ),
        "order": GraphQLInputField(SortOrder, default_value="ASC"),
        "nullsFirst": GraphQLInputField(
            GraphQLBoolean, default_value=False, description="Records without a value come first."
        ),
    },
)
SHARED = {
    named.name: named
    for named in (Int, Decimal, JSON, SortOrder, PageInfo, PaginationInput, SortInput)
}

SORTING: Arguments = {
    "sort": GraphQLArgument(SortInput),
    "orderBy": GraphQLArgument(
        GraphQLList(GraphQLNonNull(SortInput)), description="Several fields; instead of sort."
    ),
}
PAGING: Arguments = {"pagination": GraphQLArgument(PaginationInput)}
RELAY: Arguments = {
    "first": GraphQLArgument(Int, description="With after: Relay's words for pagination."),
    "after": GraphQLArgument(GraphQLString),
    "last": GraphQLArgument(Int),
    "before": GraphQLArgument(GraphQLString),
}
WORDS: Arguments = {
    "q": GraphQLArgument(
        GraphQLString, description="Words that must all occur in text fields, whatever their case."
    )
}
IF_VERSION: Arguments = {
    "ifVersion": GraphQLArgument(
        Int, description="Only while the record is at this version; as If-Match does over REST."
    )
}
ATOMIC: Arguments = {
    "atomic": GraphQLArgument(
        GraphQLBoolean, default_value=True, description="All or nothing; false keeps what succeeds."
    )
}
SINCE: Arguments = {
    "since": GraphQLArgument(
        GraphQLString, description="A place in the change feed: what came after it comes first."
    )
}


@cache
def input_field(scalar: GraphQLScalarType, *, several: bool = False) -> GraphQLInputField:
    """One object for all fields that look alike: schemas of many entities are mostly these."""
    return GraphQLInputField(GraphQLList(GraphQLNonNull(scalar)) if several else scalar)


def operand(scalar: GraphQLScalarType, operator: Operator) -> GraphQLInputField:
    if operator is Operator.IS_NULL:
        return input_field(GraphQLBoolean)
    if operator in PATTERNS:
        return input_field(GraphQLString)
    return input_field(scalar, several=operator in LISTS or operator is Operator.BETWEEN)


@cache
def value_field(scalar: GraphQLScalarType, *, nullable: bool) -> GraphQLField:
    return GraphQLField(scalar if nullable else GraphQLNonNull(scalar))

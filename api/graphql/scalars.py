"""The scalars of the schema, and which of them stands for a field of each kind.

Literals are only recognised here; what they mean is read by the parser that REST has, so that both
refuse the same values in the same words.
"""

from collections.abc import Mapping
from typing import Any

from graphql import (
    GraphQLBoolean,
    GraphQLError,
    GraphQLFloat,
    GraphQLID,
    GraphQLScalarType,
    GraphQLString,
    IntValueNode,
    ValueNode,
    value_from_ast_untyped,
)
from graphql.language import FloatValueNode, StringValueNode, print_ast

from hubblewave_pipelines.core.entity import FieldKind

_INT64 = range(-(2**63), 2**63)
_DIGITS = 19  # of the longest number that could be one


def _int(value: Any) -> int:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if isinstance(value, float) and value.is_integer():
        value, whole = int(value), True
    if not whole or value not in _INT64:
        raise GraphQLError(f"Int cannot represent {str(value)[:60]!r}: it takes 64-bit numbers.")
    return int(value)


def _int_literal(node: ValueNode, _: Mapping[str, Any] | None = None) -> int:
    if not isinstance(node, IntValueNode) or len(node.value.lstrip("-")) > _DIGITS:
        raise GraphQLError(
            f"Int cannot represent {print_ast(node)[:60]}: it takes 64-bit numbers.", node
        )
    return _int(int(node.value))


def _decimal(value: Any) -> str | int | float:
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return value
    raise GraphQLError(f"Decimal cannot represent {str(value)[:60]!r}: write a string or a number.")


def _decimal_literal(node: ValueNode, _: Mapping[str, Any] | None = None) -> str:
    if isinstance(node, StringValueNode | IntValueNode | FloatValueNode):
        return node.value
    raise GraphQLError(
        f"Decimal cannot represent {print_ast(node)[:60]}: write a string or a number.", node
    )


def _json(value: Any) -> Any:
    return value


def _json_literal(node: ValueNode, variables: Mapping[str, Any] | None = None) -> Any:
    return value_from_ast_untyped(node, None if variables is None else dict(variables))


Int = GraphQLScalarType(
    "Int64",
    serialize=_int,
    parse_value=_int,
    parse_literal=_int_literal,
    description="A whole number of 64 bits. Clients whose own numbers are shorter lose digits.",
)
# The library keeps the name for its own, of 32 bits, which many an integer field would not fit.
Int.name = "Int"
Decimal = GraphQLScalarType(
    "Decimal",
    serialize=str,
    parse_value=_decimal,
    parse_literal=_decimal_literal,
    description='An exact decimal, as a string like "12.50". Numbers are taken, too.',
)
JSON = GraphQLScalarType(
    "JSON",
    parse_value=_json,
    parse_literal=_json_literal,
    description="Any JSON value, stored as it is.",
)

SCALARS: Mapping[FieldKind, GraphQLScalarType] = {
    FieldKind.TEXT: GraphQLString,
    FieldKind.LONGTEXT: GraphQLString,
    FieldKind.INTEGER: Int,
    FieldKind.NUMBER: GraphQLFloat,
    FieldKind.DECIMAL: Decimal,
    FieldKind.BOOLEAN: GraphQLBoolean,
    FieldKind.DATE: GraphQLString,
    FieldKind.DATETIME: GraphQLString,
    FieldKind.EMAIL: GraphQLString,
    FieldKind.URL: GraphQLString,
    FieldKind.UUID: GraphQLString,
    FieldKind.JSON: JSON,
    FieldKind.ENUM: GraphQLString,
}


def scalar_of(kind: FieldKind, name: str, *, reference: bool) -> GraphQLScalarType:
    """The scalar of a record's value: ids of records are IDs."""
    return GraphQLID if reference or name == "id" else SCALARS[kind]

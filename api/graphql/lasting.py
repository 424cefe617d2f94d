"""What of an operation is the same whatever its variables are: planned, and written as SQL, once.

No value is ever taken over from one request to another: what a variable stands in, or what its
`@include` decides, is planned anew each time. Kept beside the catalog's schema (`api.graphql.engine`).
"""

from collections.abc import Iterable, Mapping

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLArgument,
    GraphQLField,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    InlineFragmentNode,
    ListValueNode,
    Node,
    ObjectValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    Undefined,
    ValueNode,
    VariableNode,
)
from graphql.type import GraphQLInputType

from hubblewave_pipelines.core.entity import Entity
from hubblewave_pipelines.core.shapes import Lasting

_MOST = 64  # selections kept of one operation: their number of rows may come from a variable

_Key = tuple[str, int, tuple[int, ...]]


class Known:
    """What is known of one operation. Its nodes are known by `id`, and outlive this."""

    def __init__(
        self, definition: OperationDefinitionNode, fragments: Mapping[str, FragmentDefinitionNode]
    ) -> None:
        self.definition = definition
        self.weight = 0  # characters of the statements that what is kept is a part of
        self._fragments = fragments
        self._varies: dict[int, bool] = {}
        self._narrowed: dict[int, GraphQLField] = {}
        self._records: dict[_Key, tuple[Lasting, int]] = {}

    def __len__(self) -> int:
        return len(self._records)

    def record(
        self, entity: Entity, nodes: list[FieldNode], rows: int
    ) -> tuple[Lasting, int] | None:
        """What is shown of each of at most `rows` records, and its cost, when it was kept."""
        return self._records.get(_key(entity, nodes, rows))

    def keep(
        self, entity: Entity, nodes: list[FieldNode], rows: int, made: Lasting, cost: int
    ) -> None:
        if len(self._records) < _MOST:
            self._records[_key(entity, nodes, rows)] = (made, cost)

    def lasts(self, nodes: list[FieldNode]) -> bool:
        """Whether nothing below the fields depends on a variable; their own arguments may."""
        return not any(node.selection_set and self._of(node.selection_set) for node in nodes)

    def _of(self, node: SelectionSetNode) -> bool:
        found = self._varies.get(id(node))
        if found is None:
            found = self._varies[id(node)] = any(map(self._selected, node.selections))
        return found

    def _selected(self, node: Node) -> bool:
        """Validated fragments never lead back to themselves."""
        assert isinstance(node, FieldNode | FragmentSpreadNode | InlineFragmentNode)
        if any(_varies(a.value) for directive in node.directives for a in directive.arguments):
            return True
        if isinstance(node, FragmentSpreadNode):
            return self._of(self._fragments[node.name.value].selection_set)
        if isinstance(node, FieldNode) and any(_varies(a.value) for a in node.arguments):
            return True
        return node.selection_set is not None and self._of(node.selection_set)

    def narrowed(self, field: GraphQLField, node: FieldNode) -> GraphQLField:
        """The field with no more arguments and input fields than the node gives or must give.

        The library goes through all that a filter could hold to coerce the one thing it holds.
        """
        found = self._narrowed.get(id(node))
        if found is None:
            given = {argument.name.value: [argument.value] for argument in node.arguments}
            arguments = {
                name: GraphQLArgument(
                    _narrowed(asked.type, given.get(name, [])),
                    asked.default_value,
                    out_name=asked.out_name,
                )
                for name, asked in field.args.items()
                if name in given or _counts_absent(asked)
            }
            found = self._narrowed[id(node)] = GraphQLField(field.type, arguments)
        return found


def _key(entity: Entity, nodes: list[FieldNode], rows: int) -> _Key:
    return entity.name, rows, tuple(map(id, nodes))


def _varies(value: ValueNode) -> bool:
    match value:
        case VariableNode():
            return True
        case ListValueNode():
            return any(map(_varies, value.values))
        case ObjectValueNode():
            return any(_varies(field.value) for field in value.fields)
    return False


def _counts_absent(asked: GraphQLArgument | GraphQLInputField) -> bool:
    """Whether it matters that something is not given: it has a default or is required."""
    return asked.default_value is not Undefined or isinstance(asked.type, GraphQLNonNull)


def _narrowed(kind: GraphQLInputType, values: Iterable[ValueNode]) -> GraphQLInputType:
    """The type with the input fields that one of the values at this place gives."""
    if isinstance(kind, GraphQLNonNull):
        return GraphQLNonNull(_narrowed(kind.of_type, values))
    if isinstance(kind, GraphQLList):
        inside = (v.values if isinstance(v, ListValueNode) else (v,) for v in values)
        return GraphQLList(_narrowed(kind.of_type, [item for items in inside for item in items]))
    given: dict[str, list[ValueNode]] = {}
    for value in values:
        if isinstance(value, ObjectValueNode):
            for field in value.fields:
                given.setdefault(field.name.value, []).append(field.value)
    if not isinstance(kind, GraphQLInputObjectType) or not given:
        return kind
    fields = {
        name: GraphQLInputField(
            _narrowed(field.type, given.get(name, [])), field.default_value, out_name=field.out_name
        )
        for name, field in kind.fields.items()
        if name in given or _counts_absent(field)
    }
    return GraphQLInputObjectType(
        kind.name, fields, out_type=kind.out_type, is_one_of=kind.is_one_of
    )

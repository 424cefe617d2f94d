"""A validated operation -> what is asked of the database: the shape of the whole answer.

`members` of a record or a page are compiled where they stand, however deep, so that
`storage.compiler.select_shape` can answer a document by one statement. Nothing here waits or reads.
"""

from collections.abc import Sequence
from typing import Any

from graphql import FieldNode, GraphQLError, GraphQLObjectType, SelectionSetNode
from graphql.execution.collect_fields import collect_fields, collect_sub_fields
from graphql.execution.values import get_argument_values

from api.graphql.arguments import read_list
from api.graphql.documents import Operation, invalid
from api.graphql.groups import MEASURES, RECORDS, groups, measured
from api.graphql.lasting import Known
from api.graphql.naming import Form, Root, connection_field
from hubblewave_pipelines.core.entity import Entity
from hubblewave_pipelines.core.errors import CursorMismatch, QueryInvalid, QueryTooLarge
from hubblewave_pipelines.core.filters import Conditions
from hubblewave_pipelines.core.hops import Hop, hop_of
from hubblewave_pipelines.core.query import ID, Comparison, Operator, column_of
from hubblewave_pipelines.core.shapes import (
    COUNTS,
    Constant,
    Edges,
    Fact,
    Grouped,
    Groups,
    Info,
    Items,
    Lasting,
    Listing,
    Measured,
    Measures,
    Member,
    Node,
    OfGroup,
    One,
    Part,
    Place,
    Told,
    facts_of,
    named,
)
from hubblewave_pipelines.core.values import Refused

COUNT_COST = 100  # a count reads what it counts; this is what it weighs beside values shown

_Nodes = list[FieldNode]


class Planner:
    """Plans one request: coerces arguments, follows relations, adds up the cost."""

    def __init__(
        self,
        operation: Operation,
        variables: dict[str, Any],
        secret: bytes,
        known: Known | None = None,
    ) -> None:
        self.operation = operation
        self.schema = operation.schema
        self.variables = variables
        self.cost = 0
        self._secret = secret
        self._known = known
        self._lasting = False  # inside what is kept as a whole
        self._conditions = Conditions(self.schema.catalog)
        self._path: list[str] = []

    def roots(self) -> dict[str, _Nodes]:
        """The root fields to answer, by the name under which each is answered."""
        root = self.schema.graphql.get_root_type(self.operation.kind)
        assert root is not None
        return self._collected(root, self.operation.definition.selection_set)

    def root(self, nodes: _Nodes) -> Root | None:
        """What a root field means; None for fields that are not about records."""
        known = self.schema.roots(_ROOTS[self.operation.kind.value])
        return known.get(nodes[0].name.value)

    def arguments(self, parent: GraphQLObjectType, nodes: _Nodes) -> dict[str, Any]:
        """The coerced arguments of a field. Raises QueryInvalid."""
        field = parent.fields[nodes[0].name.value]
        if self._known is not None:
            field = self._known.narrowed(field, nodes[0])
        try:
            return get_argument_values(field, nodes[0], self.variables)
        except GraphQLError as error:
            raise self._refusal(error.message, nodes, None) from error

    def root_arguments(self, key: str, nodes: _Nodes) -> dict[str, Any]:
        root = self.schema.graphql.get_root_type(self.operation.kind)
        assert root is not None
        self._path = [key]
        return self.arguments(root, nodes)

    def charge(self, rows: int, values: int) -> None:
        """Raises QueryTooLarge once the document asks for more than its limit."""
        self.cost += rows * values
        most = self.operation.rules.max_cost
        if self.cost > most:
            raise QueryTooLarge(
                f"The document could ask for more than {most:,} values (rows times fields): "
                "ask for fewer fields, or for smaller pages (pagination: {pageSize: 20})."
            )

    # Shapes

    def one(self, key: str, entity: Entity, nodes: _Nodes, record_id: object) -> One:
        """The record with this id, as a root field shows it."""
        this = Comparison(ID, Operator.EQ, record_id)
        self._path = [key]
        return One(key, entity, self.record(entity, nodes, 1), filter=this)

    def record(self, entity: Entity, nodes: _Nodes, rows: int) -> tuple[Member, ...]:
        """What the fields' selections show of each of at most `rows` records."""
        known = self._known
        if known is None or self._lasting or not known.lasts(nodes):
            return self._shown(entity, nodes, rows)
        kept = known.record(entity, nodes, rows)
        if kept is not None:
            self.charge(1, kept[1])
            return kept[0]
        before, self._lasting = self.cost, True
        made = Lasting(self._shown(entity, nodes, rows))
        self._lasting = False
        known.keep(entity, nodes, rows, made, self.cost - before)
        return made

    def _shown(self, entity: Entity, nodes: _Nodes, rows: int) -> tuple[Member, ...]:
        record = self.schema.object(Form.OBJECT, entity)
        fields = self.collected_below(record, nodes)
        self.charge(rows, len(fields))
        return tuple(
            self._member(key, entity, record, inner, rows) for key, inner in fields.items()
        )

    def _member(
        self, key: str, entity: Entity, record: GraphQLObjectType, nodes: _Nodes, rows: int
    ) -> Member:
        name = nodes[0].name.value
        if name == "__typename":
            return Constant(key, record.name)
        column = column_of(entity, name)
        if column is not None:
            return named(column, key)
        self._path.append(key)
        hop, bare = hop_of(entity, name, self.schema.catalog), True
        if hop is None:
            hop, bare = self._connected(entity, name), False
        if hop.many:
            arguments = self.arguments(record, nodes)
            found: Member = self.page(key, hop.target, arguments, nodes, rows, hop=hop, bare=bare)
        else:
            found = One(key, hop.target, self.record(hop.target, nodes, rows), hop)
        self._path.pop()
        return found

    def _connected(self, entity: Entity, field: str) -> Hop:
        for relation in entity.relations:
            if connection_field(entity, relation.name) == field:
                hop = hop_of(entity, relation.name, self.schema.catalog)
                if hop is not None:
                    return hop
        raise AssertionError(f"the schema has no field {field}")

    def page(
        self,
        key: str,
        entity: Entity,
        arguments: dict[str, Any],
        nodes: _Nodes,
        rows: int,
        *,
        hop: Hop | None = None,
        bare: bool = False,
    ) -> Listing:
        """A page of records around each of at most `rows` records."""
        if hop is None:
            self._path = [key]
        try:
            query = read_list(
                entity,
                arguments,
                catalog=self.schema.catalog,
                conditions=self._conditions,
                secret=self._secret,
            )
        except CursorMismatch as refused:
            located = self._refusal(refused.detail, nodes, None).context["located"]
            raise CursorMismatch(refused.detail, located=located) from refused
        except Refused as refused:
            raise self._refusal(refused.detail, nodes, refused.code) from refused
        shown = rows * query.page_size
        if bare:
            items = Items(key, self.record(entity, nodes, shown))
            return Listing(key, query, (items,), hop, bare=True)
        connection = self.schema.object(Form.CONNECTION, entity)
        parts = self.collected_below(connection, nodes)
        listing = Listing(
            key,
            query,
            tuple(
                self.groups(name, entity, inner, rows)
                if inner[0].name.value == "aggregate"
                else self._part(name, entity, connection, inner, shown)
                for name, inner in parts.items()
            ),
            hop,
        )
        counts = bool(facts_of(listing) & COUNTS)
        self.charge(rows, len(parts) + counts * COUNT_COST)
        return listing

    def _part(
        self, key: str, entity: Entity, connection: GraphQLObjectType, nodes: _Nodes, shown: int
    ) -> Part:
        match nodes[0].name.value:
            case "items":
                return Items(key, self.record(entity, nodes, shown))
            case "totalCount":
                return Told(key, Fact.TOTAL_ITEMS)
            case "pageInfo":
                return Info(key, tuple(self._facts(nodes)))
            case "edges":
                edge = self.schema.object(Form.EDGE, entity)
                inner = self.collected_below(edge, nodes)
                self.charge(shown, len(inner))
                return Edges(
                    key,
                    tuple(self._edge(name, entity, edge, at, shown) for name, at in inner.items()),
                )
        return Constant(key, connection.name)

    def groups(self, key: str, entity: Entity, nodes: _Nodes, rows: int) -> Groups:
        """The field `aggregate` of a page around each of at most `rows` records."""
        arguments = self.arguments(self.schema.object(Form.CONNECTION, entity), nodes)
        group = self.schema.object(Form.AGGREGATE, entity)
        try:
            members = [
                self._of_group(name, entity, group, inner)
                for name, inner in self.collected_below(group, nodes).items()
            ]
            found = groups(key, entity, arguments, members, self.schema.catalog)
        except Refused as refused:
            raise self._refusal(refused.detail, nodes, refused.code) from refused
        self.charge(rows, COUNT_COST)
        values = len(members) + len(found.asked.measures)
        self.charge(rows, values * (found.asked.page_size if found.asked.groups else 1))
        return found

    def _of_group(
        self, key: str, entity: Entity, group: GraphQLObjectType, nodes: _Nodes
    ) -> OfGroup:
        name = nodes[0].name.value
        if name == "group":
            return Grouped(key)
        if name == "count":
            return Measured(key, RECORDS)
        if name not in MEASURES:
            return Constant(key, group.name)
        values = self.schema.object(MEASURES[name], entity)
        return Measures(
            key,
            tuple(
                Constant(at, values.name)
                if inner[0].name.value == "__typename"
                else measured(entity, at, name, inner[0].name.value)
                for at, inner in self.collected_below(values, nodes).items()
            ),
        )

    def _edge(
        self, key: str, entity: Entity, edge: GraphQLObjectType, nodes: _Nodes, shown: int
    ) -> Place | Node | Constant:
        match nodes[0].name.value:
            case "cursor":
                return Place(key)
            case "node":
                return Node(key, self.record(entity, nodes, shown))
        return Constant(key, edge.name)

    def _facts(self, nodes: _Nodes) -> Sequence[Told | Constant]:
        fields = self.collected_below(self.schema.page_info, nodes)
        return [
            Constant(key, "PageInfo")
            if inner[0].name.value == "__typename"
            else Told(key, Fact(inner[0].name.value))
            for key, inner in fields.items()
        ]

    # Selections

    def _collected(
        self, parent: GraphQLObjectType, selections: SelectionSetNode
    ) -> dict[str, _Nodes]:
        fragments = self.operation.fragments
        return collect_fields(self.schema.graphql, fragments, self.variables, parent, selections)

    def collected_below(self, parent: GraphQLObjectType, nodes: _Nodes) -> dict[str, _Nodes]:
        """The fields that the selections of the nodes name of `parent`, fragments included."""
        return collect_sub_fields(
            self.schema.graphql, self.operation.fragments, self.variables, parent, nodes
        )

    def _refusal(self, message: str, nodes: _Nodes, code: str | None) -> QueryInvalid:
        field = nodes[0].name.value
        extensions: dict[str, Any] = {}
        if code is not None:
            extensions = {"errors": [{"parameter": field, "code": code, "detail": message}]}
        error = GraphQLError(
            f"{field}: {message}", nodes[0], path=list(self._path), extensions=extensions
        )
        return invalid([error])


_ROOTS = {"query": "Query", "mutation": "Mutation", "subscription": "Subscription"}

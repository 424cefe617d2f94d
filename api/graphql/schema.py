"""A tenant's GraphQL schema, made part by part as documents name them. `schema_for(catalog)`.

Parts are made programmatically from the frozen catalog. The library's own schema object is kept
for validation, coercion and introspection; nothing is ever executed by it but introspection.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cached_property
from itertools import chain

from graphql import (
    GraphQLArgument,
    GraphQLBoolean,
    GraphQLField,
    GraphQLFloat,
    GraphQLID,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLString,
)
from graphql.type import GraphQLInputType, GraphQLOutputType
from graphql.type.definition import resolve_thunk

from api.graphql import naming
from api.graphql.groups import GROUP, GROUPING, MEASURES, measure_fields
from api.graphql.lazy import Lazy
from api.graphql.naming import Form, Root, Verb
from api.graphql.scalars import JSON, Int, scalar_of
from api.graphql.shared import (
    ATOMIC,
    BOOLEAN,
    ID,
    IF_VERSION,
    INT,
    PAGING,
    RELAY,
    SHARED,
    SINCE,
    SORTING,
    WORDS,
    Arguments,
    PageInfo,
    input_field,
    operand,
    value_field,
)
from hubblewave_pipelines.core.entity import Catalog, Entity, RelationKind
from hubblewave_pipelines.core.query import OPERATORS, Operator, columns_of

_ROOTS: Mapping[str, Callable[[Catalog], Mapping[str, Root]]] = {
    "Query": naming.QueryRoots,
    "Mutation": naming.MutationRoots,
    "Subscription": naming.SubscriptionRoots,
}


class _Names(Collection[str]):
    """The names of several collections that have none in common; nothing is copied."""

    def __init__(self, *parts: Collection[str]) -> None:
        self._parts = parts

    def __contains__(self, name: object) -> bool:
        return any(name in part for part in self._parts)

    def __iter__(self) -> Iterator[str]:
        return chain.from_iterable(self._parts)

    def __len__(self) -> int:
        return sum(map(len, self._parts))


class _Object(GraphQLObjectType):
    """A type whose fields are taken as they are: the library looks at every letter of every name,
    which the definitions' own rules have done."""

    @cached_property
    def fields(self) -> dict[str, GraphQLField]:
        return dict(resolve_thunk(self._fields))


class _Input(GraphQLInputObjectType):
    """Likewise."""

    @cached_property
    def fields(self) -> dict[str, GraphQLInputField]:
        return dict(resolve_thunk(self._fields))


class TenantSchema:
    """The schema of one catalog, with what its root fields mean."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self._forms = naming.TypeNames(catalog)
        self._roots = {name: roots(catalog) for name, roots in _ROOTS.items()}

    def roots(self, name: str) -> Mapping[str, Root]:
        """What the fields of Query, Mutation or Subscription mean."""
        return self._roots[name]

    @cached_property
    def graphql(self) -> GraphQLSchema:
        """The library's schema object, for validation and coercion."""
        schema = GraphQLSchema(assume_valid=True)
        known: dict[str, GraphQLNamedType] = {**schema.type_map, **SHARED}
        known |= {
            named.name: named for named in (GraphQLString, GraphQLBoolean, GraphQLFloat, GraphQLID)
        }
        for name in _ROOTS:
            if self.catalog.entities or name == "Query":
                known[name] = self._root_type(name)
        schema.query_type = known["Query"]  # type: ignore[assignment]
        schema.mutation_type = known.get("Mutation")  # type: ignore[assignment]
        schema.subscription_type = known.get("Subscription")  # type: ignore[assignment]
        schema.type_map = Lazy(  # type: ignore[assignment]
            _Names(known, self._forms),
            lambda name: known.get(name) or self._made(name),
        )
        return schema

    @property
    def page_info(self) -> GraphQLObjectType:
        return PageInfo

    def _root_type(self, name: str) -> GraphQLObjectType:
        fixed = {}
        if name == "Query":  # a tenant without entities has a schema, too
            version = "The version of the definitions that this schema is made from."
            fixed = {"schemaVersion": GraphQLField(INT, description=version)}
        made = GraphQLObjectType(name, {})
        # Where the library would keep what it made of a thunk.
        made.__dict__["fields"] = Lazy(
            _Names(self.roots(name), fixed),
            lambda field: fixed.get(field) or self._root_field(self.roots(name)[field]),
        )
        return made

    # Types

    def type(self, form: Form, entity: Entity) -> GraphQLNamedType:
        return self.graphql.type_map[naming.type_name(form, entity, self.catalog)]

    def object(self, form: Form, entity: Entity) -> GraphQLObjectType:
        found = self.type(form, entity)
        assert isinstance(found, GraphQLObjectType)
        return found

    def _input(self, form: Form, entity: Entity) -> GraphQLInputObjectType:
        found = self.type(form, entity)
        assert isinstance(found, GraphQLInputObjectType)
        return found

    def _made(self, name: str) -> GraphQLNamedType:
        form, entity = self._forms[name]
        match form:
            case Form.OBJECT:
                return _Object(
                    name, lambda: self._record_fields(entity), description=entity.description
                )
            case Form.CONNECTION:
                return _Object(name, lambda: self._connection_fields(entity))
            case Form.EDGE:
                return _Object(name, lambda: self._edge_fields(entity))
            case Form.INPUT:
                return _Input(
                    name,
                    lambda: self._input_fields(entity),
                    description="What is not named keeps its value, or gets its default.",
                )
            case Form.FILTER:
                return _Input(name, lambda: self._filter_fields(entity))
            case Form.LIST_FILTER:
                return _Input(name, lambda: self._quantifiers(entity))
            case Form.BULK_UPDATE:
                return _Input(name, lambda: self._update_fields(entity))
            case Form.AGGREGATE:
                return _Object(name, lambda: self._group_fields(entity))
            case Form.VALUE_COUNTS | Form.DISTINCT_COUNTS | Form.SUMS | Form.AVERAGES:
                return _Object(name, lambda: measure_fields(entity, form))
            case Form.EXTREMES:
                return _Object(name, lambda: measure_fields(entity, form))
            case Form.BULK_RESULT:
                return _Object(name, lambda: self._result_fields(entity))
            case Form.BULK_ITEM:
                return _Object(name, lambda: self._outcome_fields(entity))

    # Records and pages of them

    def _record_fields(self, entity: Entity) -> dict[str, GraphQLField]:
        found: dict[str, GraphQLField] = {}
        for column in columns_of(entity):
            reference = column.name in entity.references
            scalar = scalar_of(column.kind, column.name, reference=reference)
            field = entity.fields_by_name.get(column.name)
            if field is None or field.description is None:
                found[column.name] = value_field(scalar, nullable=column.nullable)
            else:
                shown = scalar if column.nullable else GraphQLNonNull(scalar)
                found[column.name] = GraphQLField(shown, description=field.description)
        for relation in entity.relations:
            target = self.catalog.named(relation.target)
            if target is None:
                continue
            record = self.object(Form.OBJECT, target)
            described = relation.description
            if relation.kind is RelationKind.MANY_TO_ONE:
                one: GraphQLOutputType = GraphQLNonNull(record) if relation.required else record
                found[relation.name] = GraphQLField(one, description=described)
                continue
            listed = GraphQLNonNull(GraphQLList(GraphQLNonNull(record)))
            found[relation.name] = GraphQLField(
                listed, self._bare_arguments(target), description=described
            )
            connection = GraphQLNonNull(self.object(Form.CONNECTION, target))
            name = naming.connection_field(entity, relation.name)
            found[name] = GraphQLField(
                connection, self._page_arguments(target), description=described
            )
        return found

    def _bare_arguments(self, entity: Entity) -> Arguments:
        asked = GraphQLArgument(self._input(Form.FILTER, entity))
        return {"filter": asked, **PAGING, **SORTING, **WORDS}

    def _page_arguments(self, entity: Entity) -> Arguments:
        return {**self._bare_arguments(entity), **RELAY}

    def _connection_fields(self, entity: Entity) -> dict[str, GraphQLField]:
        record = GraphQLNonNull(self.object(Form.OBJECT, entity))
        edge = GraphQLNonNull(self.object(Form.EDGE, entity))
        group = GraphQLNonNull(self.object(Form.AGGREGATE, entity))
        return {
            "items": GraphQLField(GraphQLNonNull(GraphQLList(record))),
            "edges": GraphQLField(GraphQLNonNull(GraphQLList(edge))),
            "pageInfo": GraphQLField(GraphQLNonNull(PageInfo)),
            "totalCount": GraphQLField(INT, description="As pageInfo.totalItems."),
            "aggregate": GraphQLField(
                GraphQLNonNull(GraphQLList(group)),
                GROUPING,
                description="Of all records that pass the filter, whatever the page.",
            ),
        }

    def _group_fields(self, entity: Entity) -> dict[str, GraphQLField]:
        found = {"group": GROUP, "count": GraphQLField(INT, description="How many records.")}
        for name, form in MEASURES.items():
            found[name] = GraphQLField(GraphQLNonNull(self.object(form, entity)))
        return found

    def _edge_fields(self, entity: Entity) -> dict[str, GraphQLField]:
        return {
            "cursor": GraphQLField(GraphQLNonNull(GraphQLString)),
            "node": GraphQLField(GraphQLNonNull(self.object(Form.OBJECT, entity))),
        }

    # Filters and input

    def _filter_fields(self, entity: Entity) -> dict[str, GraphQLInputField]:
        own = self._input(Form.FILTER, entity)
        several = GraphQLInputField(GraphQLList(GraphQLNonNull(own)))
        found = {"and": several, "or": several, "not": GraphQLInputField(own)}
        for column in columns_of(entity):
            reference = column.name in entity.references
            scalar = scalar_of(column.kind, column.name, reference=reference)
            offered = OPERATORS[column.kind]
            if Operator.EQ in offered:
                found[column.name] = input_field(scalar)
            for operator in Operator:
                if operator in offered:
                    found[f"{column.name}_{operator.value}"] = operand(scalar, operator)
        for relation in entity.relations:
            target = self.catalog.named(relation.target)
            if target is not None:
                many = relation.kind is not RelationKind.MANY_TO_ONE
                form = Form.LIST_FILTER if many else Form.FILTER
                found[relation.name] = GraphQLInputField(self._input(form, target))
        return found

    def _quantifiers(self, entity: Entity) -> dict[str, GraphQLInputField]:
        inner = GraphQLInputField(self._input(Form.FILTER, entity))
        return {"some": inner, "none": inner, "every": inner}

    def _input_fields(self, entity: Entity) -> dict[str, GraphQLInputField]:
        found: dict[str, GraphQLInputField] = {}
        for field in entity.fields:
            if not field.computed:
                scalar = scalar_of(field.kind, field.name, reference=False)
                described = field.description
                found[field.name] = (
                    input_field(scalar)
                    if described is None
                    else GraphQLInputField(scalar, description=described)
                )
        found |= {name: input_field(GraphQLID) for name in entity.references}
        return found or {"_": input_field(GraphQLBoolean)}  # an input without fields is not valid

    def _update_fields(self, entity: Entity) -> dict[str, GraphQLInputField]:
        given = GraphQLNonNull(self._input(Form.INPUT, entity))
        return {
            "id": GraphQLInputField(ID),
            "ifVersion": input_field(Int),
            "set": GraphQLInputField(given),
        }

    # Outcomes of bulk mutations

    def _result_fields(self, entity: Entity) -> dict[str, GraphQLField]:
        item = GraphQLNonNull(self.object(Form.BULK_ITEM, entity))
        count = GraphQLField(INT)
        items = GraphQLField(
            GraphQLNonNull(GraphQLList(item)), description="In the order of the request."
        )
        return {"total": count, "succeeded": count, "failed": count, "items": items}

    def _outcome_fields(self, entity: Entity) -> dict[str, GraphQLField]:
        return {
            "index": GraphQLField(INT),
            "status": GraphQLField(INT, description="The HTTP status the item alone would have."),
            "id": GraphQLField(GraphQLID),
            "version": GraphQLField(Int),
            "record": GraphQLField(self.object(Form.OBJECT, entity)),
            "error": GraphQLField(JSON, description="A problem document, as over REST."),
        }

    # Root fields

    def _root_field(self, root: Root) -> GraphQLField:
        entity = root.entity
        record = self.object(Form.OBJECT, entity)
        given = GraphQLNonNull(self._input(Form.INPUT, entity))
        asked = GraphQLArgument(self._input(Form.FILTER, entity))
        one: Arguments = {"id": GraphQLArgument(ID)}
        values: Arguments = {"input": GraphQLArgument(given)}
        match root.verb:
            case Verb.READ:
                return GraphQLField(record, one)
            case Verb.LIST:
                connection = GraphQLNonNull(self.object(Form.CONNECTION, entity))
                return GraphQLField(connection, self._page_arguments(entity))
            case Verb.CREATE:
                return GraphQLField(GraphQLNonNull(record), values)
            case Verb.UPDATE:
                return GraphQLField(GraphQLNonNull(record), {**one, **values, **IF_VERSION})
            case Verb.DELETE:
                return GraphQLField(BOOLEAN, {**one, **IF_VERSION})
            case Verb.CREATED:
                return GraphQLField(GraphQLNonNull(record), {"filter": asked, **SINCE})
            case Verb.UPDATED:
                which = {"id": GraphQLArgument(GraphQLID), "filter": asked}
                return GraphQLField(GraphQLNonNull(record), {**which, **SINCE})
            case Verb.DELETED:
                which = {"id": GraphQLArgument(GraphQLID), "filter": asked}
                return GraphQLField(ID, {**which, **SINCE})
        result = GraphQLNonNull(self.object(Form.BULK_RESULT, entity))
        several: Arguments = {"input": GraphQLArgument(_list_of(given))}
        if root.verb is Verb.DELETE_MANY:
            several = {"ids": GraphQLArgument(_list_of(ID))}
        elif root.verb is Verb.UPDATE_MANY:
            item = GraphQLNonNull(self._input(Form.BULK_UPDATE, entity))
            several = {"input": GraphQLArgument(_list_of(item))}
        elif root.verb is Verb.UPSERT_MANY:
            described = "The unique field that says which record an item is."
            key = GraphQLArgument(GraphQLNonNull(GraphQLString), description=described)
            several = {"key": key, **several}
        return GraphQLField(result, {**several, **ATOMIC})


def _list_of(item: GraphQLInputType) -> GraphQLInputType:
    return GraphQLNonNull(GraphQLList(item))


def schema_for(catalog: Catalog) -> TenantSchema:
    """The schema of a catalog. Cheap: parts are made when a document names them."""
    return TenantSchema(catalog)

"""A query answered level by level: the library runs it, and related records are loaded in batches.

The other way to the same answer as one compiled statement: what is done when PostgreSQL finds that
statement too complex, and what the compiled answers are compared with in tests. Each level costs a
statement per relation and arguments, whatever the number of records above it.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec
from graphql import DocumentNode, ExecutionResult, GraphQLError, GraphQLResolveInfo, execute

from api.graphql.arguments import read_list
from api.graphql.documents import Operation, invalid
from api.graphql.groups import MEASURES
from api.graphql.naming import Form, Verb, connection_field
from api.graphql.planning import Planner
from api.graphql.sealing import sealed
from hubblewave_pipelines.core.entity import Entity, Json
from hubblewave_pipelines.core.filters import Conditions
from hubblewave_pipelines.core.hops import Hop, hop_of
from hubblewave_pipelines.core.identity import as_id
from hubblewave_pipelines.core.query import ID, Comparison, Operator, Query, columns_of
from hubblewave_pipelines.core.shapes import (
    COUNTS,
    Edges,
    Fact,
    Info,
    Listing,
    Node,
    Part,
    Place,
    Told,
)
from hubblewave_pipelines.storage.compiler import select_shape, select_shaped
from hubblewave_pipelines.storage.database import AsyncTransaction

_FREE = tuple(Told(fact.value, fact) for fact in Fact if fact not in COUNTS)
_TOTAL = Told(Fact.TOTAL_ITEMS.value, Fact.TOTAL_ITEMS)


class _Batch:
    """The keys of one kind asked for in one turn of the loop, answered by one call of `load`."""

    def __init__(self) -> None:
        self._asked: dict[Hashable, dict[UUID, asyncio.Future[Any]]] = {}
        self._running: set[asyncio.Task[None]] = set()

    def load(self, kind: Hashable, key: UUID, run: Any) -> "asyncio.Future[Any]":
        waiting = self._asked.get(kind)
        if waiting is None:
            waiting = self._asked[kind] = {}
            task = asyncio.create_task(self._answer(kind, run))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        if key not in waiting:
            waiting[key] = asyncio.get_running_loop().create_future()
        return waiting[key]

    async def _answer(self, kind: Hashable, run: Any) -> None:
        await asyncio.sleep(0)  # everybody of this level has asked by then
        waiting = self._asked.pop(kind)
        try:
            found = await run(list(waiting))
        except Exception as error:  # noqa: BLE001 - each who waits is told, and tells the caller
            for future in waiting.values():
                future.set_exception(error)
            return
        for key, future in waiting.items():
            future.set_result(found.get(key))


_Parts = Callable[[Part, Hashable], Awaitable[Any]]


class _Page:
    """A page as the library walks it: its rows, what it says of itself, and how another part of it
    is read."""

    def __init__(self, entity: Entity, found: Mapping[str, Any], part: _Parts) -> None:
        self.entity, self.part = entity, part
        self.edges, self.info = found["edges"], found["pageInfo"]

    async def count(self) -> Any:
        return await self.part(_TOTAL, "total")


class _Group(dict[str, Any]):
    """A group of records; its members have the names of the document."""


class Loading:
    """One query at work in an open transaction."""

    def __init__(
        self, tx: AsyncTransaction, operation: Operation, given: Mapping[str, Json], secret: bytes
    ) -> None:
        self._tx, self._operation, self._given, self._secret = tx, operation, given, secret
        self._schema, self._catalog = operation.schema, operation.schema.catalog
        self._entities = {
            schema_name: entity
            for entity in self._catalog
            for schema_name in (self._schema.object(Form.OBJECT, entity).name,)
        }
        self._conditions = Conditions(self._catalog)
        self._batch = _Batch()
        self._planner = Planner(operation, operation.variables(given), secret)
        self.statements = 0

    async def data(self) -> dict[str, Any]:
        """The `data` of the answer. Raises QueryInvalid."""
        operation = self._operation
        document = DocumentNode(definitions=(operation.definition, *operation.fragments.values()))
        result = execute(
            self._schema.graphql,
            document,
            variable_values=dict(self._given),
            field_resolver=self._resolve,
        )
        if not isinstance(result, ExecutionResult):
            result = await result
        if result.errors or result.data is None:
            for error in result.errors or ():
                if error.original_error and not isinstance(error.original_error, GraphQLError):
                    raise error.original_error
            raise invalid(result.errors or [GraphQLError("The query has no answer.")])
        return result.data

    def _resolve(self, source: Any, info: GraphQLResolveInfo, **arguments: Any) -> Any:
        name = info.field_name
        if source is None:
            return self._root(name, arguments)
        if isinstance(source, _Page):
            return (
                self._groups(source, info) if name == "aggregate" else self._of_page(source, name)
            )
        if isinstance(source, _Group):
            found = source[str(info.path.key)]
            return _Group(found) if name in MEASURES else found
        entity = self._entities.get(info.parent_type.name)
        if entity is None or name in source:
            found = source[name]
            return found() if callable(found) else found
        return self._related(entity, source, name, arguments)

    def _of_page(self, page: _Page, name: str) -> Any:
        if name == "items":
            return [edge["node"] for edge in page.edges]
        if name == "edges":
            return page.edges
        if name == "totalCount":
            return page.count()
        size = page.info[Fact.PAGE_SIZE]

        async def pages() -> int:
            return -(-int(await page.count()) // int(size))

        return {**page.info, Fact.TOTAL_ITEMS: page.count, Fact.TOTAL_PAGES: pages}

    async def _groups(self, page: _Page, info: GraphQLResolveInfo) -> Any:
        part = self._planner.groups("groups", page.entity, info.field_nodes, 1)
        place = tuple(step for step in info.path.as_list() if isinstance(step, str))
        return [_Group(found) for found in await page.part(part, place)]

    def _root(self, name: str, arguments: Mapping[str, Any]) -> Any:
        if name == "schemaVersion":
            return self._catalog.version
        root = self._schema.roots("Query")[name]
        if root.verb is Verb.LIST:
            return self._top(root.entity, arguments)
        record_id = as_id(arguments["id"])
        return None if record_id is None else self._record(root.entity, record_id)

    def _query(self, entity: Entity, arguments: Mapping[str, Any]) -> Query:
        return read_list(
            entity,
            arguments,
            catalog=self._catalog,
            conditions=self._conditions,
            secret=self._secret,
        )

    async def _top(self, entity: Entity, arguments: Mapping[str, Any]) -> _Page:
        query = self._query(entity, arguments)
        found = await self._shape(_page(query, None))

        async def part(part: Part, kind: Hashable) -> Any:
            return (await self._shape(Listing("page", query, (part,))))[part.name]

        return _Page(entity, found, part)

    async def _shape(self, listing: Listing) -> dict[str, Any]:
        self.statements += 1
        text = await self._tx.one(select_shape([listing]))
        read: dict[str, Any] = json.loads(sealed(text or "{}", [listing], self._secret))
        return dict(read[listing.name])

    def _record(self, entity: Entity, record_id: UUID) -> Any:
        async def run(ids: Sequence[UUID]) -> dict[UUID, Any]:
            return await self._rows(entity, columns_of(entity), ids)

        return self._batch.load((entity.id, "record"), record_id, run)

    async def _rows(
        self, entity: Entity, members: Any, ids: Sequence[UUID]
    ) -> dict[UUID, dict[str, Any]]:
        self.statements += 1
        these = Comparison(ID, Operator.IN, tuple(ids))
        rows = await self._tx.all(select_shaped(entity, members, these))
        return {key: json.loads(sealed(text, members, self._secret)) for key, text in rows}

    def _related(
        self, entity: Entity, source: Mapping[str, Any], name: str, arguments: Mapping[str, Any]
    ) -> Any:
        hop = hop_of(entity, name, self._catalog)
        if hop is not None and not hop.many:
            reference = source[hop.relation.field]
            return None if reference is None else self._record(hop.target, UUID(reference))
        if hop is not None:
            return self._items(entity, hop, UUID(source["id"]), arguments)
        for relation in entity.relations:
            if connection_field(entity, relation.name) == name:
                found = hop_of(entity, relation.name, self._catalog)
                assert found is not None
                return self._pages(entity, found, UUID(source["id"]), arguments)
        raise AssertionError(f"the schema has no field {name}")

    async def _items(
        self, entity: Entity, hop: Hop, record_id: UUID, arguments: Mapping[str, Any]
    ) -> Any:
        page = await self._pages(entity, hop, record_id, arguments)
        return self._of_page(page, "items")

    async def _pages(
        self, entity: Entity, hop: Hop, record_id: UUID, arguments: Mapping[str, Any]
    ) -> _Page:
        query = self._query(hop.target, arguments)
        kind = (entity.id, hop.relation.id, msgspec.json.encode(arguments))
        found = await self._batched(entity, _page(query, hop), kind, record_id)

        async def part(part: Part, of: Hashable) -> Any:
            listing = Listing("page", query, (part,), hop)
            read = await self._batched(entity, listing, (*kind, of), record_id)
            return read[part.name]

        return _Page(hop.target, found, part)

    async def _batched(
        self, entity: Entity, listing: Listing, kind: Hashable, record_id: UUID
    ) -> Any:
        async def run(ids: Sequence[UUID]) -> dict[UUID, Any]:
            rows = await self._rows(entity, (listing,), ids)
            return {key: row[listing.name] for key, row in rows.items()}

        return await self._batch.load(kind, record_id, run)


def _page(query: Query, hop: Hop | None) -> Listing:
    """Whole records, each beside its cursor, and what their page says of itself but its counts."""
    node = Node("node", columns_of(query.entity))
    return Listing(
        "page", query, (Edges("edges", (Place("cursor"), node)), Info("pageInfo", _FREE)), hop
    )

"""What this process holds for GraphQL: schemas, documents and plans by catalog, all bounded.

`Engine.operation` validates a document for a catalog; `Engine.plan` says what a query asks of the
database. Both keep what they made with the catalog's schema, so that a new version of the
definitions starts afresh and an old one is dropped whole.
"""

import asyncio
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from uuid import UUID

import msgspec
from graphql import FieldNode

from api.graphql.documents import Documents, Operation, Rules
from api.graphql.introspection import introspected
from api.graphql.lasting import Known
from api.graphql.naming import Root, Verb
from api.graphql.planning import Planner
from api.graphql.schema import TenantSchema, schema_for
from api.graphql.sealing import has_cursors
from api.kept import Kept
from hubblewave_pipelines.core.entity import Catalog, Entity, Json
from hubblewave_pipelines.core.identity import as_id
from hubblewave_pipelines.core.shapes import Constant, Member
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage.compiler import select_shape
from hubblewave_pipelines.storage.database import Statement, statement

_SCHEMAS = 64
_PLANNED = 2_000_000  # characters that make up the plans of one schema
_INTROSPECTED = 32_000_000  # bytes, compressed: 1,000 entities are some 2 MB
_PERSISTED = 4_000_000  # characters


@dataclass(frozen=True)
class Plan:
    """What a query asks for: one statement that answers its fields about records, and the rest."""

    order: tuple[str, ...]
    members: tuple[Member, ...]
    statement: Statement[str]
    entity: Entity | None
    fixed: Mapping[str, bytes]  # answered without the database, as JSON by name
    asked: Mapping[str, list[FieldNode]]  # about the schema itself
    seals: bool
    cost: int
    operation: Operation


@dataclass
class _Held:
    """One catalog's schema with what was made for it."""

    schema: TenantSchema
    documents: Documents
    plans: Kept[tuple[str, str | None, bytes], Plan] = field(default_factory=lambda: Kept(_PLANNED))
    known: Kept[tuple[str, str | None], Known] = field(default_factory=lambda: Kept(_PLANNED))


class Engine:
    """One per process."""

    def __init__(self, settings: Settings) -> None:
        self.rules = Rules(
            introspection=settings.graphql_introspection is True,
            max_depth=settings.graphql_max_depth,
            max_cost=settings.graphql_max_cost,
        )
        self.persisted: Kept[tuple[UUID, bytes], str] = Kept(_PERSISTED)  # by tenant and digest
        # Answers about schemas by tenant, version and digest of the question, compressed.
        self._introspected: Kept[tuple[UUID, int, bytes], bytes] = Kept(_INTROSPECTED)
        self._introspecting = asyncio.Lock()
        self._held: Kept[tuple[UUID, int], _Held] = Kept(_SCHEMAS)

    def schema(self, catalog: Catalog) -> TenantSchema:
        return self._of(catalog).schema

    def operation(self, catalog: Catalog, text: str, name: str | None) -> Operation:
        """The validated operation of a document. Raises QuerySyntax, QueryInvalid, QueryTooLarge
        and MalformedRequest."""
        held = self._of(catalog)
        return held.documents.operation(text, name)

    def _of(self, catalog: Catalog) -> _Held:
        key = (catalog.tenant_id, catalog.version)
        held = self._held.get(key)
        if held is None:
            made = schema_for(catalog)
            held = _Held(made, Documents(made, self.rules))
            self._held.keep(key, held)
        return held

    def plan(
        self,
        catalog: Catalog,
        text: str,
        name: str | None,
        variables: Mapping[str, Json],
        secret: bytes,
    ) -> Plan:
        """What a query asks for. Raises as `operation` does."""
        held = self._of(catalog)
        key = (text, name, msgspec.json.encode(variables))
        kept = held.plans.get(key)
        if kept is not None:
            return kept
        operation = held.documents.operation(text, name)
        known = held.known.get(key[:2])
        if known is None or known.definition is not operation.definition:
            known = Known(operation.definition, operation.fragments)
        before = len(known)
        made = planned(operation, variables, secret, known)
        written = len(text) + len(made.statement.text)
        held.plans.keep(key, made, len(key[2]) + written)
        if len(known) > before or not known.weight:
            known.weight += written
            held.known.keep(key[:2], known, known.weight)
        return made

    async def introspect(self, plan: Plan, variables: Mapping[str, Json]) -> dict[str, msgspec.Raw]:
        """The answers about the schema itself. Raises QueryTooLarge.

        Made in a thread, one at a time in a process and once for all who ask the same.
        """
        catalog = plan.operation.schema.catalog
        source = b"".join(
            node.loc.source.body.encode() + b"%d" % node.loc.start
            for nodes in plan.asked.values()
            for node in nodes
            if node.loc is not None
        )
        digest = sha256(source + b"\0" + msgspec.json.encode(variables)).digest()
        key = (catalog.tenant_id, catalog.version, digest)
        while (packed := self._introspected.get(key)) is None:
            async with self._introspecting:
                if self._introspected.get(key) is None:
                    return await asyncio.to_thread(self._introspect, key, plan, variables)
        text = await asyncio.to_thread(zlib.decompress, packed)
        return msgspec.json.decode(text, type=dict[str, msgspec.Raw])

    def _introspect(
        self, key: tuple[UUID, int, bytes], plan: Plan, variables: Mapping[str, Json]
    ) -> dict[str, msgspec.Raw]:
        """On a schema of its own: this makes every part, and is not the loop's."""
        operation = plan.operation
        found = introspected(
            schema_for(operation.schema.catalog).graphql,
            operation.fragments,
            operation.variables(variables),
            plan.asked,
        )
        raw = {name: msgspec.Raw(value) for name, value in found.items()}
        packed = zlib.compress(msgspec.json.encode(raw), 1)
        self._introspected.keep(key, packed, len(packed))
        return raw


_NOTHING = statement("select '{}'", (), lambda row: row[0])


def planned(
    operation: Operation, given: Mapping[str, Json], secret: bytes, known: Known | None = None
) -> Plan:
    """The plan of a query; `known` is added to. Raises QueryInvalid and QueryTooLarge."""
    planner = Planner(operation, operation.variables(given), secret, known)
    members: list[Member] = []
    fixed: dict[str, bytes] = {}
    asked: dict[str, list[FieldNode]] = {}
    entity: Entity | None = None
    roots = planner.roots()
    for key, nodes in roots.items():
        root, name = planner.root(nodes), nodes[0].name.value
        if root is not None:
            entity = root.entity
            member = _member(planner, root, key, nodes)
            if member is None:
                fixed[key] = b"null"
            else:
                members.append(member)
        elif name == "__typename":
            members.append(Constant(key, "Query"))
        elif name == "schemaVersion":
            fixed[key] = b"%d" % operation.schema.catalog.version
        else:
            asked[key] = nodes
    select = select_shape(members) if entity is not None and members else None
    if select is None:  # nothing about records: nothing to ask the database
        fixed |= {m.name: msgspec.json.encode(m.text) for m in members if isinstance(m, Constant)}
        members = []
    return Plan(
        tuple(roots),
        tuple(members),
        select or _NOTHING,
        entity,
        fixed,
        asked,
        has_cursors(members),
        planner.cost,
        operation,
    )


def _member(planner: Planner, root: Root, key: str, nodes: list[FieldNode]) -> Member | None:
    """What a root field shows; None when there can be no such record."""
    arguments = planner.root_arguments(key, nodes)
    if root.verb is Verb.LIST:
        return planner.page(key, root.entity, arguments, nodes, 1)
    record_id = as_id(arguments["id"])
    found = planner.one(key, root.entity, nodes, record_id)
    return None if record_id is None else found

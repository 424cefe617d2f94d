"""Mutations: a document's writes in order and in one transaction, by the same path as REST's.

All or nothing: when a field fails, the answer says which and why, its data is null, and nothing of
the document was written. A bulk mutation that is not atomic keeps what succeeds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

import msgspec
from graphql import FieldNode
from starlette.requests import Request
from starlette.responses import Response

from api import writes
from api.attempts import Attempt, perform
from api.batches import Done, Writer
from api.body import JSON
from api.bulk import undone as undone_batch
from api.bulk import upsert_key
from api.context import Context, platform
from api.graphql.naming import MANY, Form, Root, Verb
from api.graphql.planning import Planner
from api.graphql.refusals import undone
from api.graphql.sealing import has_cursors, sealed
from api.idempotency import fingerprint, idempotency_key, once
from api.lists import cursor_secret
from api.problems import document
from hubblewave_pipelines.core.bodies import record_values
from hubblewave_pipelines.core.bulk import Batch, BulkKind, read_batch
from hubblewave_pipelines.core.entity import Entity, Json
from hubblewave_pipelines.core.errors import (
    Fault,
    NotFound,
    PlatformError,
    PreconditionRequired,
    Unavailable,
)
from hubblewave_pipelines.core.identity import as_id
from hubblewave_pipelines.core.query import ID, Comparison, Operator
from hubblewave_pipelines.core.shapes import Member
from hubblewave_pipelines.storage.compiler import select_shaped

_KINDS = {
    Verb.CREATE_MANY: BulkKind.CREATE,
    Verb.UPSERT_MANY: BulkKind.UPSERT,
    Verb.UPDATE_MANY: BulkKind.UPDATE,
    Verb.DELETE_MANY: BulkKind.DELETE,
}
Raw = msgspec.Raw


@dataclass(frozen=True, slots=True)
class _Step:
    """One root field of a mutation, ready to be written; its shape is known before anything is."""

    key: str
    root: Root
    nodes: list[FieldNode]
    arguments: dict[str, Any]
    members: tuple[Member, ...]


@dataclass
class _At:
    """Which field is being written; None before the first."""

    key: str | None = None


async def mutate(
    request: Request, text: str, name: str | None, variables: Mapping[str, Json]
) -> Response:
    """Run a mutation. Its own failures are part of the answer; raises PlatformError as `perform`
    does, and for what is wrong with the document."""
    key, at = idempotency_key(request.headers), _At()
    asked = None if key is None else await fingerprint(request)

    async def work(context: Context, attempt: Attempt) -> Response:
        at.key = None
        write = partial(_written, request, context, attempt, at, text, name, variables)
        if key is None or asked is None:
            return await write()
        return await once(context, key, asked, write)

    try:
        return await perform(request, "write", work)
    except PlatformError as refused:
        if at.key is None or isinstance(refused, Unavailable) or refused.status in (401, 403, 429):
            raise
        told = _moved(refused, {"#/input": "#/input", "#/ids": "#/ids", "#": "#/input"})
        body = undone(told, request.state.request_id, [at.key])
        return Response(body, 200, None, JSON)


async def _written(
    request: Request,
    context: Context,
    attempt: Attempt,
    at: _At,
    text: str,
    name: str | None,
    variables: Mapping[str, Json],
) -> Response:
    engine, secret = platform(request).graphql, cursor_secret(request, context.principal)
    operation = engine.operation(context.catalog, text, name)
    planner = Planner(operation, operation.variables(variables), secret)
    found: dict[str, Raw] = {}
    steps = _steps(planner, found)
    for step in steps:
        at.key, attempt.entity = step.key, step.root.entity
        writing = _Writing(context, planner, step, secret)
        found[step.key] = Raw(await writing.written())
    return Response(msgspec.json.encode({"data": found}), 200, None, JSON)


def _steps(planner: Planner, found: dict[str, Raw]) -> list[_Step]:
    """The writes in order. Every answer gets its place in `found`, also those without a write."""
    steps = []
    for key, nodes in planner.roots().items():
        root = planner.root(nodes)
        found[key] = Raw(b'"Mutation"')
        if root is None:
            continue
        arguments = planner.root_arguments(key, nodes)
        members: tuple[Member, ...] = ()
        if root.verb in (Verb.CREATE, Verb.UPDATE):
            members = planner.record(root.entity, nodes, 1)
        steps.append(_Step(key, root, nodes, arguments, members))
    return steps


class _Writing:
    """One step at work in the open transaction."""

    def __init__(self, context: Context, planner: Planner, step: _Step, secret: bytes) -> None:
        self._context, self._planner, self._step, self._secret = context, planner, step, secret
        self._entity: Entity = step.root.entity

    async def written(self) -> bytes:
        """The JSON of the field. Raises PlatformError."""
        verb, arguments = self._step.root.verb, self._step.arguments
        if verb in MANY:
            return await self._batch(_KINDS[verb])
        if verb is Verb.CREATE:
            values = _values(self._entity, arguments["input"], "create")
            return await self._shown((await writes.insert(self._context, self._entity, values)).id)
        record_id = as_id(arguments["id"])
        if record_id is None:
            raise NotFound(f"There is no {self._entity.name} {arguments['id'][:60]!r}.")
        version = arguments.get("ifVersion")
        if version is None and self._entity.require_if_match:
            raise PreconditionRequired(f"Say which version of the {self._entity.name} you change.")
        versions = None if version is None else {version}
        if verb is Verb.DELETE:
            await writes.delete(self._context, self._entity, record_id, versions=versions)
            return b"true"
        values = _values(self._entity, arguments["input"], "patch")
        await writes.update(self._context, self._entity, record_id, values, versions=versions)
        return await self._shown(record_id)

    async def _shown(self, record_id: UUID) -> bytes:
        shown = await self._records([record_id], self._step.members)
        return shown[record_id]

    async def _records(self, ids: list[UUID], members: tuple[Member, ...]) -> dict[UUID, bytes]:
        these = Comparison(ID, Operator.IN, tuple(ids))
        rows = await self._context.tx.all(select_shaped(self._entity, members, these))
        seals = has_cursors(members)
        return {
            record_id: (sealed(text, members, self._secret) if seals else text).encode()
            for record_id, text in rows
        }

    async def _batch(self, kind: BulkKind) -> bytes:
        arguments, key = self._step.arguments, None
        body: dict[str, Json] = {"atomic": arguments.get("atomic") is not False}
        if kind is BulkKind.DELETE:
            body["ids"] = arguments["ids"]
        elif kind is BulkKind.UPDATE:
            body["items"] = [_update(item) for item in arguments["input"]]
        else:
            body["items"] = arguments["input"]
        if kind is BulkKind.UPSERT:
            key = upsert_key(self._entity, [("key", arguments["key"])])
        try:
            batch = read_batch(self._entity, body, kind, key=key)
            done = await Writer(self._context, self._entity, batch, key=key).write()
            if batch.refused and batch.atomic:
                raise undone_batch(batch)
        except PlatformError as refused:
            raise _of_arguments(refused) from refused
        return await self._outcome(batch, done)

    async def _outcome(self, batch: Batch, done: dict[int, Done]) -> bytes:
        schema, planner = self._planner.schema, self._planner
        result = schema.object(Form.BULK_RESULT, self._entity)
        failed = len(batch.refused)
        counts = {"total": batch.total, "succeeded": batch.total - failed, "failed": failed}
        found: dict[str, Any] = {}
        for key, nodes in planner.collected_below(result, self._step.nodes).items():
            name = nodes[0].name.value
            if name == "items":
                found[key] = await self._items(nodes, batch, done)
            else:
                found[key] = counts.get(name, result.name)
        return msgspec.json.encode(found)

    async def _items(
        self, nodes: list[FieldNode], batch: Batch, done: dict[int, Done]
    ) -> list[dict[str, Any]]:
        planner = self._planner
        item = planner.schema.object(Form.BULK_ITEM, self._entity)
        fields = planner.collected_below(item, nodes)
        planner.charge(batch.total, len(fields))
        ids = [found.record_id for found in done.values()]
        records: dict[str, dict[UUID, bytes]] = {}
        for key, inner in fields.items():
            if inner[0].name.value == "record":
                members = planner.record(self._entity, inner, batch.total)
                records[key] = await self._records(ids, members)
        return [
            {
                key: self._item(key, inner[0].name.value, index, batch, done, records)
                for key, inner in fields.items()
            }
            for index in range(batch.total)
        ]

    def _item(
        self,
        key: str,
        name: str,
        index: int,
        batch: Batch,
        done: dict[int, Done],
        records: Mapping[str, Mapping[UUID, bytes]],
    ) -> Any:
        refused, written = batch.refused.get(index), done.get(index)
        match name:
            case "index":
                return index
            case "status":
                return refused.status if written is None and refused else written and written.status
            case "id":
                return None if written is None else written.record_id
            case "version":
                return None if written is None else written.version
            case "record":
                text = None if written is None else records[key].get(written.record_id)
                return None if text is None else Raw(text)
            case "error":
                if refused is None:
                    return None
                told = _of_arguments(refused)
                request_id = self._context.request_id
                return document(told, instance="/graphql", request_id=request_id)
        return self._planner.schema.object(Form.BULK_ITEM, self._entity).name


def _update(item: Mapping[str, Json]) -> dict[str, Json]:
    """An item of a bulk update in REST's words."""
    found = {"id": item["id"], "set": item["set"]}
    return found if item.get("ifVersion") is None else {**found, "ifMatch": item["ifVersion"]}


def _values(entity: Entity, given: Json, mode: Any) -> dict[str, object]:
    try:
        return record_values(entity, given, mode=mode)
    except PlatformError as refused:
        raise _below_input(refused) from refused


def _moved(error: PlatformError, pointers: Mapping[str, str]) -> PlatformError:
    """The refusal with its pointers in the words of the field's arguments."""
    faults = []
    for fault in error.faults:
        pointer = fault.pointer
        for old, new in pointers.items():
            if pointer is not None and pointer.startswith(old):
                pointer = new + pointer.removeprefix(old)
                break
        faults.append(Fault(fault.code, fault.detail, pointer, fault.parameter))
    return type(error)(error.detail, faults=faults, retry_after=error.retry_after)


def _below_input(error: PlatformError) -> PlatformError:
    return _moved(error, {"#": "#/input"})


def _of_arguments(error: PlatformError) -> PlatformError:
    return _moved(error, {"#/items": "#/input"})

"""/api/v1/{plural}[/{id}]: one handler for the records of every entity of every tenant.

The entity is found in the caller's catalog, so no route is ever registered for one.
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TypeAlias
from uuid import UUID

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as Connection

from api.attempts import Attempt, perform
from api.body import JSON, MERGE_PATCH, read_json, require_accept
from api.conditions import etag, is_known, only_if_absent, required_versions
from api.context import Context, credential
from hubblewave_pipelines.core.cursor import page_info
from hubblewave_pipelines.core.entity import Entity, Json
from hubblewave_pipelines.core.errors import MethodNotAllowed, NotFound, VersionConflict
from hubblewave_pipelines.core.parameters import parse_fields, parse_query, refuse_parameters
from hubblewave_pipelines.core.scope import Scope
from hubblewave_pipelines.core.values import record_values
from hubblewave_pipelines.storage.compiler import (
    needs_estimate,
    select_estimate,
    select_page,
    select_record,
)
from hubblewave_pipelines.storage.records import (
    Written,
    delete_record,
    insert_record,
    update_record,
    version_of,
)

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(frozen=True, slots=True)
class _Call:
    """One request as the handlers see it; `body` is read before a transaction is open."""

    request: Request
    plural: str
    record: str | None
    body: Json = None

    def entity(self, context: Context, attempt: Attempt) -> Entity:
        found = context.catalog.at_path(self.plural)
        if found is None or self.plural != found.path:
            raise NotFound(f"There is nothing at {self.request.url.path}.")
        attempt.entity = found
        return found

    def record_id(self, entity: Entity) -> UUID:
        if self.record is None or not _UUID.fullmatch(self.record):
            raise NotFound(f"There is no {entity.name} {self.record}.")
        return UUID(self.record)


Handler: TypeAlias = Callable[[_Call, Context, Attempt], Awaitable[Response]]


def _secret(context: Context) -> bytes:
    """What seals the tenant's cursors: the same in every process, and never shown to anybody."""
    return f"{context.principal.tenant_id} {context.principal.schema}".encode()


def _record(text: str, version: int, status: int = 200, **headers: str) -> Response:
    return Response(text, status, {"ETag": etag(version), **headers}, JSON)


async def _list(call: _Call, context: Context, attempt: Attempt) -> Response:
    entity, secret = call.entity(context, attempt), _secret(context)
    query = parse_query(entity, call.request.query_params.multi_items(), secret=secret)
    page = await context.tx.one(select_page(query))
    if page is None:
        raise AssertionError("an aggregate always answers one row")
    if needs_estimate(query, page):
        total = await context.tx.one(select_estimate(query))
        page = replace(page, total=total)
    info = msgspec.json.encode(page_info(query, page, secret)).decode()
    return Response(f'{{"items":{page.items},"pageInfo":{info}}}', 200, None, JSON)


async def _get(call: _Call, context: Context, attempt: Attempt) -> Response:
    entity = call.entity(context, attempt)
    columns = parse_fields(entity, call.request.query_params.multi_items())
    record_id = call.record_id(entity)
    found = await context.tx.one(select_record(entity, columns, record_id))
    if found is None:
        raise NotFound(f"There is no {entity.name} {record_id}.")
    version, text = found
    if is_known(call.request.headers, version):
        return Response(status_code=304, headers={"ETag": etag(version)})
    return _record(text, version)


async def _create(call: _Call, context: Context, attempt: Attempt) -> Response:
    entity = call.entity(context, attempt)
    refuse_parameters(call.request.query_params.multi_items())
    values = record_values(entity, call.body, mode="create")
    return await _insert(call, context, entity, values, None)


async def _insert(
    call: _Call,
    context: Context,
    entity: Entity,
    values: dict[str, object],
    record_id: UUID | None,
) -> Response:
    actor = context.principal.actor_id
    written = await context.tx.one(
        insert_record(entity, values, actor_id=actor, record_id=record_id)
    )
    if written is None:
        raise VersionConflict(f"There already is a {entity.name} {record_id}.")
    base = call.request.url.path.rsplit("/", 1)[0] if record_id else call.request.url.path
    return _record(written.text, written.version, 201, Location=f"{base}/{written.id}")


async def _replace(call: _Call, context: Context, attempt: Attempt) -> Response:
    entity = call.entity(context, attempt)
    refuse_parameters(call.request.query_params.multi_items())
    record_id = call.record_id(entity)
    values = record_values(entity, call.body, mode="replace")
    if only_if_absent(call.request.headers):
        return await _insert(call, context, entity, values, record_id)
    return await _update(call, context, entity, record_id, values)


async def _patch(call: _Call, context: Context, attempt: Attempt) -> Response:
    entity = call.entity(context, attempt)
    refuse_parameters(call.request.query_params.multi_items())
    record_id = call.record_id(entity)
    values = record_values(entity, call.body, mode="patch")
    return await _update(call, context, entity, record_id, values)


async def _update(
    call: _Call, context: Context, entity: Entity, record_id: UUID, values: dict[str, object]
) -> Response:
    written: Written | None = await context.tx.one(
        update_record(
            entity,
            record_id,
            values,
            actor_id=context.principal.actor_id,
            versions=required_versions(call.request.headers),
        )
    )
    if written is None:
        raise await _missed(context, entity, record_id)
    return _record(written.text, written.version)


async def _delete(call: _Call, context: Context, attempt: Attempt) -> Response:
    entity = call.entity(context, attempt)
    refuse_parameters(call.request.query_params.multi_items())
    record_id = call.record_id(entity)
    versions = required_versions(call.request.headers)
    deleted = await context.tx.one(delete_record(entity, record_id, versions=versions))
    if deleted is None:
        raise await _missed(context, entity, record_id)
    return Response(status_code=204)


async def _missed(context: Context, entity: Entity, record_id: UUID) -> NotFound | VersionConflict:
    """Why a write found nothing to change."""
    version = await context.tx.one(version_of(entity, record_id))
    if version is None:
        return NotFound(f"There is no {entity.name} {record_id}.")
    return VersionConflict(f"The record is at version {version}, which If-Match does not name.")


@dataclass(frozen=True, slots=True)
class _Method:
    handler: Handler
    scope: Scope
    media: tuple[str, ...] = ()


_COLLECTION = {
    "GET": _Method(_list, "read"),
    "HEAD": _Method(_list, "read"),
    "POST": _Method(_create, "write", (JSON,)),
}
_RECORD = {
    "GET": _Method(_get, "read"),
    "HEAD": _Method(_get, "read"),
    "PUT": _Method(_replace, "write", (JSON,)),
    "PATCH": _Method(_patch, "write", (MERGE_PATCH, JSON)),
    "DELETE": _Method(_delete, "write"),
}


def application(prefix: str) -> ASGIApp:
    """The ASGI application for everything under `prefix` that no fixed path claims."""

    async def records(connection: Connection, receive: Receive, send: Send) -> None:
        request = Request(connection, receive)
        path: str = connection["path"]
        plural, *more = path.removeprefix(f"{prefix}/").split("/")
        if not path.startswith(f"{prefix}/") or not plural or len(more) > 1 or more == [""]:
            raise NotFound(f"There is nothing at {path}.")
        methods = _RECORD if more else _COLLECTION
        request.state.route = f"{prefix}/{{plural}}/{{id}}" if more else f"{prefix}/{{plural}}"
        method = methods.get(request.method)
        if method is None:
            allow = ", ".join(methods)
            raise MethodNotAllowed(f"{path} answers {allow}.", allow=allow)
        credential(request.headers)  # refuse the nameless before reading what they send
        require_accept(request)
        body = await read_json(request, *method.media) if method.media else None
        call = _Call(request, plural, more[0] if more else None, body)
        response = await perform(
            request, method.scope, lambda context, attempt: method.handler(call, context, attempt)
        )
        await response(connection, receive, send)

    return records

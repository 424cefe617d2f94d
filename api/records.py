"""/api/v1/{plural}[/{id}]: one handler for the records of every entity of every tenant.

The entity is found in the caller's catalog, so no route is ever registered for one.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as Connection

from api import bulk, links, writes
from api.aggregates import aggregating
from api.attempts import Attempt, perform
from api.body import JSON, MERGE_PATCH, read_json, require_accept
from api.calls import Asking, Call, Handlers, Writing
from api.changes import changes
from api.conditions import etag, only_if_absent, required_versions
from api.context import Context, identify
from api.history import history, restore
from api.idempotency import fingerprint, idempotency_key, once
from api.lists import listing, querying, reading
from api.openapi_fixed import Fixed
from api.preferences import preferred_return, require_preferences
from api.reads import read
from api.related import related_records
from hubblewave_pipelines.core.bodies import record_values
from hubblewave_pipelines.core.entity import Entity
from hubblewave_pipelines.core.errors import MethodNotAllowed, NotFound, VersionConflict
from hubblewave_pipelines.core.parameters import refuse_parameters
from hubblewave_pipelines.storage.records import Written, version_of


def _record(call: Call, written: Written, status: int = 200, **headers: str) -> Response:
    """The record as it is now, or only that it was written when the caller prefers so."""
    headers["ETag"] = etag(written.version)
    wanted = preferred_return(call.request.headers)
    if wanted is not None:
        headers["Preference-Applied"] = f"return={wanted}"
    if wanted == "minimal":
        return Response(status_code=204 if status == 200 else status, headers=headers)
    return Response(written.text, status, headers, JSON)


async def _create(call: Call, context: Context, attempt: Attempt) -> Response:
    entity = call.target(context, attempt)
    refuse_parameters(call.request.query_params.multi_items())
    values = record_values(entity, call.body, mode="create")
    return await _insert(call, context, entity, values, None)


async def _insert(
    call: Call,
    context: Context,
    entity: Entity,
    values: dict[str, object],
    record_id: UUID | None,
) -> Response:
    written = await writes.insert(context, entity, values, record_id)
    base = call.request.url.path.rsplit("/", 1)[0] if record_id else call.request.url.path
    return _record(call, written, 201, Location=f"{base}/{written.id}")


async def _replace(call: Call, context: Context, attempt: Attempt) -> Response:
    entity = call.target(context, attempt)
    refuse_parameters(call.request.query_params.multi_items())
    record_id = call.record_id(entity)
    values = record_values(entity, call.body, mode="replace")
    if only_if_absent(call.request.headers):
        return await _insert(call, context, entity, values, record_id)
    return await _update(call, context, entity, record_id, values)


async def _patch(call: Call, context: Context, attempt: Attempt) -> Response:
    entity = call.target(context, attempt)
    refuse_parameters(call.request.query_params.multi_items())
    record_id = call.record_id(entity)
    values = record_values(entity, call.body, mode="patch")
    await _refuse_present(call, context, entity, record_id)
    return await _update(call, context, entity, record_id, values)


async def _update(
    call: Call, context: Context, entity: Entity, record_id: UUID, values: dict[str, object]
) -> Response:
    versions = required_versions(call.request.headers, needed=entity.require_if_match)
    written = await writes.update(context, entity, record_id, values, versions=versions)
    return _record(call, written)


async def _delete(call: Call, context: Context, attempt: Attempt) -> Response:
    entity = call.target(context, attempt)
    refuse_parameters(call.request.query_params.multi_items())
    record_id = call.record_id(entity)
    await _refuse_present(call, context, entity, record_id)
    versions = required_versions(call.request.headers, needed=entity.require_if_match)
    await writes.delete(context, entity, record_id, versions=versions)
    return Response(status_code=204)


async def _refuse_present(call: Call, context: Context, entity: Entity, record_id: UUID) -> None:
    """If-None-Match: * on a write that needs the record: what it asks for cannot be."""
    if only_if_absent(call.request.headers):
        if await context.tx.one(version_of(entity, record_id)) is None:
            raise NotFound(f"There is no {entity.name} {record_id}.")
        raise VersionConflict("The record exists, and If-None-Match: * asks that it does not.")


_COLLECTION: Handlers = {
    "GET": listing,
    "HEAD": listing,
    "POST": Writing(_create, (JSON,)),
}
_RECORD: Handlers = {
    "GET": reading,
    "HEAD": reading,
    "PUT": Writing(_replace, (JSON,)),
    "PATCH": Writing(_patch, (MERGE_PATCH, JSON)),
    "DELETE": Writing(_delete),
}


# What may follow the plural, and what may follow a record's id; a relation's name may follow, too.
_WORDS: Mapping[str, Handlers] = {
    "aggregate": {"GET": aggregating, "HEAD": aggregating},
    "bulk": bulk.HANDLERS,
    "changes": {"GET": changes},
    "query": {"POST": Asking(querying)},
}
_RECORD_WORDS: Mapping[str, Handlers] = {
    "history": {"GET": history},
    "restore": {"POST": Writing(restore, (JSON,))},
}
_RELATION: Handlers = {"GET": related_records, "HEAD": related_records}
_PAIR: Handlers = links.HANDLERS


def _found(rest: tuple[str, ...]) -> tuple[str, Handlers]:
    """The route of a path after its plural, as logs name it, and who answers there."""
    match rest:
        case ():
            return "", _COLLECTION
        case (word,) if word in _WORDS:
            return f"/{word}", _WORDS[word]
        case (_,):
            return "/{id}", _RECORD
        case (_, word) if word in _RECORD_WORDS:
            return f"/{{id}}/{word}", _RECORD_WORDS[word]
        case (_, _):
            return "/{id}/{relation}", _RELATION
        case (_, _, _):
            return "/{id}/{relation}/{relatedId}", _PAIR
        case _:
            return "", {}


def offered() -> dict[str, dict[str, bool]]:
    """What is answered below a plural: by route, each method and whether it writes."""
    routes = {
        "": _COLLECTION,
        **{f"/{word}": handlers for word, handlers in _WORDS.items()},
        "/{id}": _RECORD,
        **{f"/{{id}}/{word}": handlers for word, handlers in _RECORD_WORDS.items()},
        "/{id}/{relation}": _RELATION,
        "/{id}/{relation}/{relatedId}": _PAIR,
    }
    return {
        route: {method: isinstance(handler, Writing) for method, handler in handlers.items()}
        for route, handlers in routes.items()
        if handlers
    }


def _heeded(handler: object) -> tuple[str, ...]:
    """The preferences that a handler heeds."""
    if isinstance(handler, Writing):
        return ("return",)
    return ("count",) if handler in (listing, related_records) else ()


async def _write(handler: Writing, call: Call) -> Response:
    key = idempotency_key(call.request.headers)
    if key is None:
        return await perform(call.request, "write", partial(handler.write, call))
    asked = await fingerprint(call.request)

    async def work(context: Context, attempt: Attempt) -> Response:
        write = partial(handler.write, call, context, attempt)
        return await once(context, key, asked, write)

    return await perform(call.request, "write", work)


class _Claimed:
    """What fixed paths begin with, which no plural does, and what they answer.

    A path that begins like them and was not claimed names something that cannot be there, such as
    an id that is none.
    """

    def __init__(self, fixed: Sequence[Fixed]) -> None:
        self._forms = [(form.path.split("/")[1:], form.method) for form in fixed]
        self.words = frozenset(form[0] for form, _ in self._forms)

    def methods(self, steps: Sequence[str]) -> list[str]:
        return [
            method
            for form, method in self._forms
            if len(form) == len(steps)
            and all(a == b or a.startswith("{") for a, b in zip(form, steps, strict=True))
        ]


def application(prefix: str, fixed: Sequence[Fixed]) -> ASGIApp:
    """The ASGI application for everything under `prefix` that no fixed path claims."""
    claimed = _Claimed(fixed)

    async def records(connection: Connection, receive: Receive, send: Send) -> None:
        if connection["type"] == "websocket":  # not accepted: its client reads status 403
            await send({"type": "websocket.close"})
            return
        request = Request(connection, receive)
        path: str = connection["path"]
        plural, *more = path.removeprefix(f"{prefix}/").split("/")
        rest = tuple(more)
        route, handlers = _found(rest)
        if not path.startswith(f"{prefix}/") or not plural or "" in rest or not handlers:
            raise NotFound(f"There is nothing at {path}.")
        offers: Collection[str] = handlers
        if plural in claimed.words:
            offers = claimed.methods((plural, *rest))
        else:
            request.state.route = f"{prefix}/{{plural}}{route}"
        if offers and request.method not in offers:
            allow = ", ".join(offers)
            raise MethodNotAllowed(f"{path} answers {allow}.", allow=allow)
        await identify(request)  # refuse the nameless and the hasty before reading what they send
        if plural in claimed.words:
            raise NotFound(f"There is nothing at {path}.")
        handler = handlers[request.method]
        require_accept(request)
        require_preferences(request.headers, *_heeded(handler))
        if isinstance(handler, Writing):
            body = await read_json(request, *handler.media) if handler.media else None
            response = await _write(handler, Call(request, plural, rest, body))
        elif isinstance(handler, Asking):
            body = await read_json(request)
            response = await read(request, partial(handler.read, Call(request, plural, rest, body)))
        else:
            response = await read(request, partial(handler, Call(request, plural, rest)))
        await response(connection, receive, send)

    return records

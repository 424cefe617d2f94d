"""A GraphQL request -> its answer: one transaction for a mutation, one statement for a query.

`execute(request, asked)` serves every transport. It needs a Starlette `Request` for who asks (the
credential's headers, the client's address, `state.request_id`), so a transport that has none per
operation makes one with `operation_request`. It answers a `Response` whose body is the JSON result
{"data", "errors"} of an operation that ran, and raises PlatformError for one that did not:
`refusals.errors_of(error, request_id)` writes that as GraphQL errors. Subscriptions are not for
here: `kind_of(asked)` says what an operation is, `subscription.subscribed` what it waits for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec
from graphql import DocumentNode, OperationDefinitionNode, OperationType
from starlette.requests import Request
from starlette.responses import Response

from api.attempts import Attempt, perform
from api.body import JSON
from api.context import Context, platform
from api.graphql.documents import chosen, parsed
from api.graphql.engine import Plan
from api.graphql.loading import Loading
from api.graphql.sealing import sealed
from api.graphql.writing import mutate
from api.lists import cursor_secret
from api.reads import Read, read
from hubblewave_pipelines.core.entity import Catalog, Json
from hubblewave_pipelines.core.errors import (
    MalformedRequest,
    MethodNotAllowed,
    PlatformError,
    Unavailable,
)
from hubblewave_pipelines.storage.database import AsyncTransaction
from hubblewave_pipelines.storage.refusals import TOO_COMPLEX
from hubblewave_pipelines.storage.tenants import Principal

COST_HEADER = "X-Query-Cost"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client sends for one operation, its members already of the right types."""

    query: str
    operation_name: str | None = None
    variables: Mapping[str, Json] | None = None

    @property
    def given(self) -> Mapping[str, Json]:
        return self.variables or {}


@lru_cache(maxsize=256)
def _recently(text: str) -> DocumentNode:
    return parsed(text)


def kind_of(asked: Asked) -> OperationType:
    """Whether a query, a mutation or a subscription is asked for; looks at nothing but the text.

    Raises QuerySyntax, QueryTooLarge, QueryInvalid and MalformedRequest.
    """
    document = _recently(asked.query) if len(asked.query) <= 10_000 else parsed(asked.query)
    operation: OperationDefinitionNode = chosen(document, asked.operation_name)
    return operation.operation


def operation_request(scope: Mapping[str, Any], *, api_key: str | None, request_id: str) -> Request:
    """The request that one operation of a longer connection stands for, counted by itself.

    `scope` is the ASGI scope of the connection; `api_key` replaces what its headers say.
    """
    headers = [
        (name, value)
        for name, value in scope["headers"]
        if name in (b"authorization", b"x-api-key", b"user-agent")
        and (api_key is None or name == b"user-agent")
    ]
    if api_key is not None:
        headers.append((b"x-api-key", api_key.encode()))
    state = {"request_id": request_id}
    one = {**scope, "type": "http", "method": "POST", "headers": headers, "state": state}
    return Request(one)


async def execute(request: Request, asked: Asked, *, reading_only: bool = False) -> Response:
    """Run a query or mutation for whoever sends the request.

    Raises PlatformError: what `perform` raises, and what is wrong with the document.
    """
    try:
        kind = kind_of(asked)
        if kind is OperationType.MUTATION and reading_only:
            raise MethodNotAllowed("A mutation must be sent by POST.", allow="POST")
        if kind is OperationType.SUBSCRIPTION:
            raise MalformedRequest(
                "Subscriptions are served over a WebSocket at the same address, by the protocol "
                "graphql-transport-ws."
            )
    except PlatformError as refused:
        return await _refuse(request, refused)
    if kind is OperationType.MUTATION:
        return await mutate(request, asked.query, asked.operation_name, asked.given)

    def prepare(principal: Principal, catalog: Catalog) -> Read[str]:
        held = platform(request).graphql
        secret = cursor_secret(request, principal)
        plan = held.plan(catalog, asked.query, asked.operation_name, asked.given, secret)

        async def answer(text: str | None, tx: AsyncTransaction | None) -> Response | None:
            body = await _composed(request, plan, text or "{}", asked.given, secret)
            return Response(body, 200, {COST_HEADER: str(plan.cost)}, JSON)

        return Read(plan.entity, plan.statement, answer)

    try:
        return await read(request, prepare)
    except Unavailable as refused:
        if not isinstance(refused.__cause__, TOO_COMPLEX):
            raise
        return await _loaded(request, asked)


async def _loaded(request: Request, asked: Asked) -> Response:
    """The answer by many small statements, for a document whose one statement is too much."""

    async def load(context: Context, attempt: Attempt) -> Response:
        operation = platform(request).graphql.operation(
            context.catalog, asked.query, asked.operation_name
        )
        secret = cursor_secret(request, context.principal)
        data = await Loading(context.tx, operation, asked.given, secret).data()
        return Response(msgspec.json.encode({"data": data}), 200, None, JSON)

    return await perform(request, "read", load)


async def _refuse(request: Request, refused: PlatformError) -> Response:
    """Only known callers are told what is wrong with what they sent."""

    async def tell(context: Context, attempt: Attempt) -> Response:
        raise refused

    return await perform(request, "read", tell)


async def _composed(
    request: Request, plan: Plan, text: str, variables: Mapping[str, Json], secret: bytes
) -> bytes:
    """The result's JSON: what SQL wrote, as it is where nothing has to be added."""
    if plan.seals:
        text = sealed(text, plan.members, secret)
    if not plan.fixed and not plan.asked:
        return f'{{"data":{text}}}'.encode()
    found: dict[str, msgspec.Raw] = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    found |= {key: msgspec.Raw(value) for key, value in plan.fixed.items()}
    if plan.asked:
        found |= await platform(request).graphql.introspect(plan, variables)
    return msgspec.json.encode({"data": {key: found[key] for key in plan.order}})

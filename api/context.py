"""Who is asking, on which catalog, in which transaction: what every route stands on."""

import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, Request
from starlette.datastructures import Headers

from api.dagster import DagsterClient
from api.graphql.engine import Engine
from api.limits import Limits
from api.subscriptions.hub import Hub
from api.subscriptions.sockets import Sockets
from api.usage import Usage
from hubblewave_pipelines.core.entity import Catalog
from hubblewave_pipelines.core.errors import Forbidden, Unauthenticated
from hubblewave_pipelines.core.identity import ApiKey, parse_api_key
from hubblewave_pipelines.core.scope import Scope, permits
from hubblewave_pipelines.delivery.posting import Session
from hubblewave_pipelines.delivery.transforms import TransformPool
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage.catalog import CatalogCache
from hubblewave_pipelines.storage.database import AsyncDatabase, AsyncTransaction, Database
from hubblewave_pipelines.storage.refusals import refusing
from hubblewave_pipelines.storage.secret_keys import Secrets
from hubblewave_pipelines.storage.tenants import Principal, authenticate

_BEARER = re.compile(r"Bearer +(\S+)", re.IGNORECASE)


class Recall:
    """Who this process authenticated last, with the catalog of that time. Only ever a guess: what
    is done with it must be confirmed by the database in the same statement."""

    def __init__(self, size: int = 10_000) -> None:
        self._size = size
        self._kept: OrderedDict[ApiKey, tuple[Principal, Catalog]] = OrderedDict()

    def guess(self, key: ApiKey) -> tuple[Principal, Catalog] | None:
        return self._kept.get(key)

    def forget(self, key: ApiKey) -> None:
        self._kept.pop(key, None)

    def keep(self, key: ApiKey, principal: Principal, catalog: Catalog) -> None:
        self._kept[key] = (principal, catalog)
        self._kept.move_to_end(key)
        while len(self._kept) > self._size:
            self._kept.popitem(last=False)


@dataclass(frozen=True, slots=True)
class Platform:
    """What the process holds open; `request.app.state.platform`."""

    settings: Settings
    database: AsyncDatabase  # role APP
    owner: Database  # role OWNER, for schema changes in a thread
    catalogs: CatalogCache
    dagster: DagsterClient
    limits: Limits
    usage: Usage
    graphql: Engine
    hub: Hub
    sockets: Sockets
    secrets: Secrets
    outbound: Session  # to receivers of webhooks
    transforms: TransformPool
    recall: Recall = field(default_factory=Recall)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is asking, with the catalog of that instant. No transaction is open."""

    principal: Principal
    catalog: Catalog
    request_id: str


@dataclass(frozen=True, slots=True)
class Context:
    """An open transaction on behalf of the caller's tenant; it commits before the response."""

    tx: AsyncTransaction
    principal: Principal
    catalog: Catalog
    request_id: str


def platform(request: Request) -> Platform:
    found: Platform = request.app.state.platform
    return found


def credential(headers: Headers) -> ApiKey:
    """The API key a request carries, in X-API-Key or as a bearer token.

    Raises Unauthenticated when there is none, there are two, or it cannot be one of ours.
    """
    given = headers.get("x-api-key")
    authorization = headers.get("authorization")
    if authorization is not None:
        match = _BEARER.fullmatch(authorization)
        if match is None:
            raise Unauthenticated("The Authorization header must be: Bearer <API key>.")
        if given is not None and given != match[1]:
            raise Unauthenticated("X-API-Key and Authorization name two different keys.")
        given = match[1]
    if given is None:
        raise Unauthenticated("Send an API key in X-API-Key or as Authorization: Bearer.")
    key = parse_api_key(given)
    if key is None:
        raise Unauthenticated("The API key is malformed; it looks like hw_live_....")
    return key


async def identify(request: Request) -> ApiKey:
    """The API key a request carries, once its rate allows the work; costs the database nothing.

    A key that was good last time is counted for its tenant, anything else for its address, and
    only once per request. Raises Unauthenticated and RateLimited.
    """
    held = platform(request)
    try:
        key = credential(request.headers)
    except Unauthenticated:
        await held.limits.charge_stranger(request)
        raise
    guessed = held.recall.guess(key)
    if guessed is None:
        await held.limits.charge_stranger(request)
    else:
        await held.limits.charge(request, guessed[0])
    return key


async def begin(request: Request, tx: AsyncTransaction, key: ApiKey, needed: Scope) -> Context:
    """Make an open transaction the caller's: who, with what, on which catalog.

    Raises Unauthenticated, Forbidden and RateLimited.
    """
    held = platform(request)
    principal = await tx.one(authenticate(key))
    if principal is None:
        held.recall.forget(key)
        raise Unauthenticated("The API key is unknown, expired or revoked.")
    request.state.principal = principal
    held.usage.note(key.id)
    await held.limits.charge(request, principal)
    if not permits(principal.scopes, needed):
        raise Forbidden(f"The API key lacks the scope {needed}.")
    catalog = await held.catalogs.get(tx, principal)
    held.recall.keep(key, principal, catalog)
    return Context(tx, principal, catalog, request.state.request_id)


@asynccontextmanager
async def opened(request: Request, needed: Scope) -> AsyncIterator[Context]:
    """The request's transaction, opened with its credential.

    Raises Unauthenticated, Forbidden, RateLimited, and Unavailable when the database cannot be had.
    """
    key = await identify(request)
    with refusing():
        async with platform(request).database.transaction() as tx:
            yield await begin(request, tx, key, needed)


def caller(needed: Scope) -> Callable[..., Any]:
    """A dependency: authenticates and closes its transaction again (uploads, schema changes)."""

    async def authenticated(request: Request) -> Caller:
        async with opened(request, needed) as context:
            return Caller(context.principal, context.catalog, context.request_id)

    return authenticated


@asynccontextmanager
async def transaction(request: Request, found: Caller) -> AsyncIterator[Context]:
    """One transaction of a request that has several, because it waits for others in between."""
    with refusing():
        async with platform(request).database.transaction(found.principal.tenant_id) as tx:
            yield Context(tx, found.principal, found.catalog, found.request_id)


def context(needed: Scope) -> Callable[..., Any]:
    """A dependency that yields a Context. Use it as `Depends(context(...), scope="function")`,
    so that a failing commit is still an error response.
    """

    async def in_transaction(request: Request) -> AsyncIterator[Context]:
        async with opened(request, needed) as found:
            yield found

    return in_transaction


Reading = Annotated[Context, Depends(context("read"), scope="function")]
Writing = Annotated[Context, Depends(context("write"), scope="function")]
Administering = Annotated[Context, Depends(context("admin"), scope="function")]

"""Reads in one round trip: the credential, the tenant and the read itself are one statement.

The statement is built for whom the key belonged to last time. It answers who the key belongs to
now as well, so a guess that was wrong in any way (revoked, other scopes, a newer catalog) is
noticed before anything is answered, and the read is done again the long way.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

import psycopg
from starlette.requests import Request
from starlette.responses import Response

from api.attempts import Attempt, perform
from api.context import Context, Platform, identify, platform
from hubblewave_pipelines.core.entity import Catalog, Entity
from hubblewave_pipelines.core.errors import PlatformError
from hubblewave_pipelines.core.identity import ApiKey
from hubblewave_pipelines.core.scope import permits
from hubblewave_pipelines.storage.database import AsyncTransaction, Statement
from hubblewave_pipelines.storage.refusals import SLOW, refusing
from hubblewave_pipelines.storage.tenants import Principal, authenticated

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Read(Generic[T]):
    """One statement and what to answer from its row; None asks for a transaction to go on in."""

    entity: Entity | None  # whose definition the statement stands on; None: on nobody's
    statement: Statement[T]
    answer: Callable[[T | None, AsyncTransaction | None], Awaitable[Response | None]]
    whole: bool = True  # False: the answer always takes a transaction, so none is tried without


Prepare: TypeAlias = Callable[[Principal, Catalog], Read[Any]]


async def read(request: Request, prepare: Prepare) -> Response:
    """Answer what `prepare` asks of the caller's catalog; it may be called several times.

    Raises PlatformError as `perform` does, and what `prepare` and the read's answer raise.
    """
    quick = await _at_once(request, platform(request), await identify(request), prepare)
    if quick is not None:
        return quick

    async def work(context: Context, attempt: Attempt) -> Response:
        wanted = prepare(context.principal, context.catalog)
        attempt.entity = wanted.entity
        found = await context.tx.one(wanted.statement)
        response = await wanted.answer(found, context.tx)
        if response is None:
            raise AssertionError("a read with a transaction always answers")
        return response

    return await perform(request, "read", work)


async def _at_once(
    request: Request, held: Platform, key: ApiKey, prepare: Prepare
) -> Response | None:
    """The answer, when the database confirms what is remembered of the key; None otherwise."""
    guessed = held.recall.guess(key)
    if guessed is None:
        return None
    principal, catalog = guessed
    if principal.catalog_version != catalog.version or not permits(principal.scopes, "read"):
        return None
    # A refusal may come from a guess that is out of date: only the long way can tell.
    try:
        wanted = prepare(principal, catalog)
    except PlatformError:
        return None
    if not wanted.whole:
        return None
    try:
        confirmed = await held.database.alone(authenticated(key, wanted.statement))
    except SLOW:
        with refusing():
            raise
    except psycopg.Error:
        return None
    if confirmed is None or confirmed[0] != principal:
        return None
    request.state.principal = principal
    held.usage.note(key.id)
    return await wanted.answer(confirmed[1], None)

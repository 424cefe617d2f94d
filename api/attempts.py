"""One request in its transaction, run again when the ground moved: a changed definition, a deadlock.

A definition may change between the moment a request read its catalog and the moment its statement
runs. Such a request is run again from the start with the new catalog, so its caller sees a change
of definition as one instant, never as an error.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import psycopg
from starlette.requests import Request

from api.context import Context, Platform, begin, identify, platform
from hubblewave_pipelines.core.entity import Entity
from hubblewave_pipelines.core.errors import Unavailable
from hubblewave_pipelines.core.identity import ApiKey
from hubblewave_pipelines.core.scope import Scope
from hubblewave_pipelines.storage.refusals import (
    BROKEN_RULE,
    COLLISION,
    STALE_SHAPE,
    names_known,
    refusal,
    unavailable,
)
from hubblewave_pipelines.storage.tenants import authenticate

T = TypeVar("T")

_ATTEMPTS = 5
_PAUSE = 0.05  # seconds, times the number of the attempt: a change of definition is about to commit


class Attempt:
    """What one attempt has got to, for whoever must judge its failure."""

    def __init__(self) -> None:
        self.context: Context | None = None
        self.entity: Entity | None = None
        self.worked = False  # the work is done; only its commit is left


async def perform(
    request: Request, needed: Scope, work: Callable[[Context, Attempt], Awaitable[T]]
) -> T:
    """Run `work` in a transaction of the caller's tenant and commit it.

    `work` may be run several times; it sets `attempt.entity` before it writes. Raises
    PlatformError: Unauthenticated, Forbidden, RateLimited, what a broken rule means, Unavailable.
    """
    key, held = await identify(request), platform(request)
    for number in range(1, _ATTEMPTS + 1):
        attempt = Attempt()
        try:
            async with held.database.transaction() as tx:
                attempt.context = await begin(request, tx, key, needed)
                result = await work(attempt.context, attempt)
                attempt.worked = True
            if needed != "read":
                held.hub.wake(attempt.context.principal.tenant_id)
            return result
        except psycopg.Error as error:
            await _judge(error, attempt, held, key, last=number == _ATTEMPTS)
            await asyncio.sleep(_PAUSE * (number - 1))
    raise Unavailable("The definition of these records is being changed.", retry_after=1)


async def _judge(
    error: psycopg.Error, attempt: Attempt, held: Platform, key: ApiKey, *, last: bool
) -> None:
    """Returns when the request should run again; raises what its caller must be told otherwise."""
    context, entity = attempt.context, attempt.entity
    if context is None or entity is None:
        # A pooled connection can turn out to be dead; another one may serve, and nothing is lost.
        refused = unavailable(error)
        if refused is None:
            raise error
        if last or not isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
            raise refused from error
        return
    if isinstance(error, (*COLLISION, *STALE_SHAPE)) and not last:
        return
    if isinstance(error, STALE_SHAPE):
        raise Unavailable(
            f"The definition of {entity.name} is being changed.", retry_after=1
        ) from error
    if isinstance(error, BROKEN_RULE) and not last:
        stale = not names_known(error, entity) or await _moved(context, held, key)
        if stale:
            return
    told = refusal(error, entity, context.catalog)
    if told is None:
        raise error
    if isinstance(told, Unavailable) and attempt.worked:
        raise Unavailable(
            "The connection was lost while committing: read the record to see whether the change "
            "was made.",
            retry_after=told.retry_after,
        ) from error
    raise told from error


async def _moved(context: Context, held: Platform, key: ApiKey) -> bool:
    """Whether the tenant's catalog has another version than the one the request was run with."""
    async with held.database.transaction() as tx:
        principal = await tx.one(authenticate(key))
    return principal is None or principal.catalog_version != context.catalog.version

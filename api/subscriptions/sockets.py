"""The open sockets of this process: how many a tenant has, and whether their keys are still good."""

import asyncio
from collections import Counter
from typing import Protocol
from uuid import UUID

import psycopg
import structlog

from api.subscriptions.gauges import SOCKETS
from hubblewave_pipelines.core.errors import Unavailable
from hubblewave_pipelines.core.identity import ApiKey
from hubblewave_pipelines.core.scope import permits
from hubblewave_pipelines.storage.database import AsyncDatabase
from hubblewave_pipelines.storage.tenants import still_good

_EVERY = 2.0  # seconds between looks at the keys; a revoked one serves no longer than 5
_AT_A_TIME = 500
_log = structlog.get_logger("api")


class Holder(Protocol):
    """A socket as it is registered."""

    @property
    def key(self) -> ApiKey: ...

    @property
    def tenant_id(self) -> UUID: ...

    def revoke(self) -> None:
        """Its key is no longer good."""


class Sockets:
    """`start` in the event loop that serves."""

    def __init__(self, database: AsyncDatabase, most_of_a_tenant: int) -> None:
        self._database = database
        self._most = most_of_a_tenant
        self._open: set[Holder] = set()
        self._of_tenant: Counter[UUID] = Counter()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._watch())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def register(self, holder: Holder) -> bool:
        """False when the tenant has as many sockets as it may have."""
        if self._of_tenant[holder.tenant_id] >= self._most:
            return False
        self._open.add(holder)
        self._of_tenant[holder.tenant_id] += 1
        SOCKETS.inc()
        return True

    def forget(self, holder: Holder) -> None:
        if holder not in self._open:
            return
        self._open.remove(holder)
        self._of_tenant[holder.tenant_id] -= 1
        if not self._of_tenant[holder.tenant_id]:
            del self._of_tenant[holder.tenant_id]
        SOCKETS.dec()

    async def _watch(self) -> None:
        """While the database cannot be asked nothing is told either, so sockets stay open."""
        while True:
            await asyncio.sleep(_EVERY)
            by_key: dict[ApiKey, list[Holder]] = {}
            for holder in self._open:
                by_key.setdefault(holder.key, []).append(holder)
            keys = list(by_key)
            for start in range(0, len(keys), _AT_A_TIME):
                asked = keys[start : start + _AT_A_TIME]
                try:
                    good = await self._good(asked)
                except (psycopg.Error, Unavailable) as error:
                    _log.warning("keys of sockets", error=type(error).__name__)
                    break
                for key in asked:
                    if key not in good:
                        for holder in by_key[key]:
                            holder.revoke()

    async def _good(self, keys: list[ApiKey]) -> set[ApiKey]:
        async with self._database.transaction() as tx:
            found = await tx.all(still_good(keys))
        return {keys[index] for index, principal in found if permits(principal.scopes, "read")}

"""All subscriptions of this process: when the feed is looked at, and by which definitions.

One look at the oldest running transaction tells for all tenants whether anything can be new; only
then are the tails asked. A write through this process makes its tenant's tails look at once.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from uuid import UUID

import psycopg
import structlog

from api.subscriptions.follower import Follower
from api.subscriptions.gauges import FEED_FAILED, SUBSCRIPTIONS
from api.subscriptions.tail import Tail
from hubblewave_pipelines.core.entity import Catalog
from hubblewave_pipelines.core.errors import PlatformError, Unavailable
from hubblewave_pipelines.storage.catalog import CatalogCache
from hubblewave_pipelines.storage.database import AsyncDatabase
from hubblewave_pipelines.storage.record_events import select_horizon, select_now
from hubblewave_pipelines.storage.refusals import STALE_SHAPE
from hubblewave_pipelines.storage.tenants import Principal, on_behalf

_QUICK, _SLOW = 0.02, 0.25  # seconds between looks: while something happens, and while nothing does
_RETRY = 1.0  # seconds until a look that failed is tried again
_AT_ONCE = 4  # tails that may look at the same time: the pool serves requests, too
_log = structlog.get_logger("api")


class Hub:
    """`start` in the event loop that serves; `close` ends all work."""

    def __init__(self, database: AsyncDatabase, catalogs: CatalogCache) -> None:
        self._database, self._catalogs = database, catalogs
        self._tails: dict[tuple[UUID, str], Tail] = {}
        self._versions: dict[UUID, int] = {}  # of the definitions that a tenant's tails follow
        self._woken = asyncio.Event()
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._refitting = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._looks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._watch())

    async def close(self) -> None:
        running = [*self._looks, *([] if self._task is None else [self._task])]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def wake(self, tenant_id: UUID) -> None:
        """Something of this tenant was committed by this process."""
        for tail in self._of(tenant_id):
            tail.stale, tail.due, tail.pause = True, 0.0, 0.0
            self._woken.set()

    def _of(self, tenant_id: UUID) -> Iterator[Tail]:
        return (tail for (owner, _), tail in self._tails.items() if owner == tenant_id)

    async def follow(self, follower: Follower, catalog: Catalog) -> None:
        """Tell a subscription of its events until it is over. It has its place already."""
        SUBSCRIPTIONS.inc()
        tail: Tail | None = None
        try:
            tail = await self._join(follower, catalog)
            await follower.over.wait()
        finally:
            SUBSCRIPTIONS.dec()
            if tail is not None:
                tail.remove(follower)
                self._forget(tail)

    async def _join(self, follower: Follower, catalog: Catalog) -> Tail | None:
        """Bring a subscription to where the tail is, and let it follow; None when it ended."""
        key = (catalog.tenant_id, follower.wanted.entity.id)
        while not follower.over.is_set() and follower.place is not None:
            if self._versions.get(catalog.tenant_id, catalog.version) > catalog.version:
                catalog = await self._catalog(follower.principal, self._versions[key[0]])
                if not follower.refit(catalog):
                    return None
            tail = self._tails.get(key)
            if tail is None:
                wanted = follower.wanted
                tail = Tail(self._database, key[0], wanted.entity, wanted.secret, follower.place)
                self._tails[key] = tail
                self._versions.setdefault(key[0], catalog.version)
            # A page is remembered as read before anything else can run: who is here by then is
            # told of it, and who comes later has read as far by itself.
            if follower.place.reaches(tail.place):
                tail.add(follower)
                self._woken.set()  # the watch may be waiting for the first tail
                return tail
            try:
                await tail.catch_up(follower)
            except (psycopg.Error, Unavailable) as error:
                await asyncio.sleep(await self._recover(tail, error))
        return None

    def _forget(self, tail: Tail) -> None:
        key = (tail.tenant_id, tail.entity.id)
        if not tail.followers and self._tails.get(key) is tail:
            del self._tails[key]
            if not any(self._of(tail.tenant_id)):
                self._versions.pop(tail.tenant_id, None)

    async def _catalog(self, principal: Principal, version: int) -> Catalog:
        asked = replace(principal, catalog_version=version)
        async with self._database.transaction(principal.tenant_id) as tx:
            return await self._catalogs.get(tx, asked)

    async def _refit(self, tenant_id: UUID, version: int) -> None:
        """Let a tenant's subscriptions follow its definitions of `version` or later."""
        async with self._refitting:
            if self._versions.get(tenant_id, version) >= version:
                return
            followers = [f for tail in self._of(tenant_id) for f in tail.followers]
            if not followers:
                self._versions[tenant_id] = version
                return
            catalog = await self._catalog(followers[0].principal, version)
            self._versions[tenant_id] = catalog.version
            by_id = {entity.id: entity for entity in catalog}
            for tail in self._of(tenant_id):
                fitting = [f for f in tail.followers if not f.over.is_set() and f.refit(catalog)]
                tail.refit(by_id.get(tail.entity.id), fitting)

    async def _watch(self) -> None:
        """Looks for as long as the process serves; a failure is a look that comes later."""
        loop, horizon, pause = asyncio.get_running_loop(), -1, _QUICK
        while True:
            if not self._tails:
                await self._woken.wait()
            try:
                async with asyncio.timeout(pause):
                    await self._woken.wait()
            except TimeoutError:
                found = await self._horizon()
                moved, horizon = found != horizon, found
                pause = _QUICK if moved else min(pause * 2, _SLOW)
                for tail in self._tails.values():
                    tail.stale = tail.stale or moved
            self._woken.clear()
            now = loop.time()
            for tail in self._tails.values():
                if tail.stale and tail.due <= now and not tail.busy:
                    tail.busy, tail.stale = True, False
                    look = loop.create_task(self._look(tail))
                    self._looks.add(look)
                    look.add_done_callback(self._looked)

    def _looked(self, look: asyncio.Task[None]) -> None:
        self._looks.discard(look)
        error = None if look.cancelled() else look.exception()
        if error is not None:
            FEED_FAILED.inc()
            _log.error("change feed", exc_info=error)

    async def _horizon(self) -> int:
        while True:
            try:
                return await self._database.alone(select_horizon()) or 0
            except (psycopg.Error, Unavailable):
                FEED_FAILED.inc()
                await asyncio.sleep(_RETRY)

    async def _look(self, tail: Tail) -> None:
        """One page for one tail, and when it is to look again."""
        loop = asyncio.get_running_loop()
        try:
            async with self._slots:
                page = await tail.read()
                if page.catalog_version > self._versions.get(tail.tenant_id, 0):
                    await self._refit(tail.tenant_id, page.catalog_version)
                more = await tail.tell()
        except (psycopg.Error, PlatformError) as error:
            tail.due = loop.time() + await self._recover(tail, error)
            tail.stale = True
        except Exception:
            tail.fail(PlatformError("The platform failed to follow the changes; its log has more."))
            raise
        else:
            if more:
                tail.stale = True
                self._woken.set()
            quiet = min(max(tail.pause * 2, _QUICK), _SLOW)
            tail.pause = 0.0 if more else _QUICK if page.events else quiet
            tail.due = loop.time() + tail.pause
        finally:
            tail.busy = False

    async def _recover(self, tail: Tail, error: Exception) -> float:
        """Catch up with the definitions when they are what is wrong; seconds to wait before the
        next try."""
        FEED_FAILED.inc()
        _log.warning("change feed", entity=tail.entity.name, error=type(error).__name__)
        if not isinstance(error, STALE_SHAPE):
            return _RETRY
        try:
            now = await self._database.alone(on_behalf(tail.tenant_id, select_now()))
            if now is not None:
                await self._refit(tail.tenant_id, now.catalog_version)
        except (psycopg.Error, PlatformError):
            return _RETRY
        return _QUICK

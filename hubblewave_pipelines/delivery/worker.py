"""The delivery worker: fans out, claims, sends within its caps, records, and ends without losing any.

Every loop survives a database that goes away. What a worker holds when it dies comes back to the
queue when its lease ends; what it holds when it is asked to stop is sent or given back. Renewing and
taking back are single statements: a worker that is stopped in the middle leaves no row locked.
"""

import asyncio
import os
import random
import socket
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import UUID

import psycopg
import structlog

from hubblewave_pipelines.core.errors import Misconfigured, Unavailable
from hubblewave_pipelines.delivery import metrics
from hubblewave_pipelines.delivery.attempt import Lease, failed, make_attempt
from hubblewave_pipelines.delivery.fanning import Fanning
from hubblewave_pipelines.delivery.mailing import Mailing
from hubblewave_pipelines.delivery.message import Endpoint, open_endpoint
from hubblewave_pipelines.delivery.places import Places
from hubblewave_pipelines.delivery.posting import Session
from hubblewave_pipelines.delivery.queue_metrics import show_queue
from hubblewave_pipelines.delivery.transforms import TransformPool
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage import alert_mails, dead_letters, deliveries, delivery_retention
from hubblewave_pipelines.storage.database import AsyncDatabase
from hubblewave_pipelines.storage.endpoints import endpoint
from hubblewave_pipelines.storage.refusals import unavailable
from hubblewave_pipelines.storage.results import Result, write_results
from hubblewave_pipelines.storage.secret_keys import Secrets

_log = structlog.get_logger("hubblewave.worker")
_POLL = 0.1  # seconds between looks at an empty queue
_BATCH = 200
_LONGEST_LOOK = 0.25
_LONGEST_PAUSE = 5.0
_CONFIGS = 2_000
_LAST_RESULTS = 5.0  # seconds that a worker which stops tries to record them


class Worker:
    """One process's share of the work. `run` returns once `stop` was called and all is drained."""

    def __init__(
        self,
        settings: Settings,
        database: AsyncDatabase,
        session: Session,
        transforms: TransformPool,
    ) -> None:
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self._settings = settings
        self._database = database
        self._session = session
        self._transforms = transforms
        self._secrets = Secrets(settings)
        self._mailing = Mailing(settings, database)
        self._fanning = Fanning(database, mails=self._mailing.on)
        self._endpoints: dict[UUID, Endpoint] = {}
        self._held: dict[UUID, Lease] = {}  # by token
        self._low = settings.webhook_endpoint_in_flight * deliveries.READY // 2
        self._results: list[Result] = []
        self._ended = asyncio.Event()
        self._claiming = asyncio.Lock()
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._places = Places(
            total=settings.webhook_concurrency,
            per_tenant=settings.webhook_tenant_in_flight,
            per_webhook=settings.webhook_endpoint_in_flight,
        )

    def stop(self) -> None:
        """Claim nothing more; safe to call from a signal handler of the loop."""
        self._stopping.set()
        self._wake.set()

    async def run(self) -> None:
        lease = self._settings.webhook_lease_seconds
        writing = asyncio.create_task(self._write())
        loops = [
            self._keep(self._claim, _POLL),
            self._keep(self._fan, _POLL),
            self._keep(self._replay, 1.0),
            self._keep(self._renew, lease / 6),
            self._keep(self._reap, min(5.0, lease / 4)),
            self._keep(self._observe, 5.0),
            self._keep(self._tell, 5.0),
            self._keep(self._mailing.round, 5.0),
            self._keep(self._maintain, 3600.0),
        ]
        running = [asyncio.create_task(loop) for loop in loops]
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            done, _ = await asyncio.wait(
                [stopping, writing, *running], return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                task.result()  # only a defect ends a loop by itself; the process ends with it
            await self._drain()
        finally:
            for task in (*running, stopping, writing, *self._tasks):
                task.cancel()
            await asyncio.gather(*running, stopping, writing, *self._tasks, return_exceptions=True)

    async def _keep(self, work: Callable[[], Awaitable[bool]], every: float) -> None:
        """Do `work` again and again: at once while it says there is more, else after `every`."""
        pause = 0.0
        while not self._stopping.is_set() or work == self._renew:
            try:
                again = await work()
                pause = 0.0
            except (Unavailable, psycopg.Error) as error:
                refused = _away(error)
                if refused is None:
                    raise
                pause = min(_LONGEST_PAUSE, max(0.1, pause * 2))
                _log.warning("database", what=work.__name__, detail=refused.detail)
                again = False
            if not again:
                wait = pause * random.uniform(0.5, 1.5) or every  # noqa: S311 - spreads retries
                await self._sleep(wait, wakes=work == self._claim)

    async def _sleep(self, seconds: float, *, wakes: bool) -> None:
        event = self._wake if wakes else self._stopping
        if event is self._stopping and event.is_set():  # while draining
            await asyncio.sleep(seconds)
            return
        try:
            async with asyncio.timeout(seconds):  # `wait_for` may lose a cancellation
                await event.wait()
        except TimeoutError:
            return
        if wakes:
            self._wake.clear()

    async def _claim(self) -> bool:
        settings = self._settings
        room = settings.webhook_concurrency * deliveries.READY - len(self._held)
        if room <= 0 or self._stopping.is_set():
            return False
        began = time.monotonic()
        async with self._claiming, self._database.transaction() as tx:
            claimed = await tx.all_after(
                deliveries.turn(),
                deliveries.claim(
                    worker=self.name,
                    limit=min(room, _BATCH),
                    endpoint_cap=settings.webhook_endpoint_in_flight,
                    tenant_cap=settings.webhook_tenant_in_flight,
                    lease=settings.webhook_lease_seconds,
                ),
            )
        for found in claimed:
            lease = Lease(found)
            self._held[found.token] = lease
            self._places.add(lease)
        self._begin()
        metrics.LEASED.set(len(self._held))
        if not claimed:  # with thousands of webhooks to look through, look less often
            await asyncio.sleep(min(_LONGEST_LOOK, time.monotonic() - began))
        return len(claimed) == _BATCH

    def _begin(self) -> None:
        """Send what has a place now. `_drain` gives back what waits when the worker stops."""
        if not self._stopping.is_set():
            for lease in self._places.fill():
                task = asyncio.create_task(self._deliver(lease))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        metrics.IN_FLIGHT.set(self._places.taken)

    async def _deliver(self, lease: Lease) -> None:
        """Send. The place is left once the result is committed, or there is none."""
        found = lease.claimed
        try:
            result = await self._attempt(lease)
        except Exception:  # noqa: BLE001 - logged; one delivery must not end the others
            _log.exception("unexpected", delivery=str(found.id))
            detail = "The worker failed; its log has more."
            result = failed(lease, "retry", "worker", detail, wait=60)
        if result is None:
            self._held.pop(found.token, None)
            self._places.leave(found.webhook_id, found.tenant_id)
            self._begin()
        else:
            self._results.append(result)
            self._ended.set()

    async def _attempt(self, lease: Lease) -> Result | None:
        """None: the webhook is gone, and the delivery with it."""
        found = lease.claimed
        try:
            target = await self._endpoint(found.webhook_id, lease)
        except (Unavailable, psycopg.Error) as error:
            _log.warning("database", what="endpoint", detail=type(error).__name__)
            return failed(lease, "retry", "worker", "The worker lost its database.", wait=1.0)
        except Misconfigured as error:
            _log.error("secrets", webhook=str(found.webhook_id), detail=error.detail)
            return failed(lease, "retry", "configuration", "The platform's key is wrong.", wait=60)
        if target is None:
            return None
        if not target.verified:  # its address changed since the claim
            detail = "The webhook's new address is not verified."
            return failed(lease, "retry", "configuration", detail, wait=1.0)
        return await make_attempt(
            lease,
            target,
            self._session,
            self._transforms,
            total=self._settings.webhook_timeout_seconds,
        )

    async def _endpoint(self, webhook_id: UUID, lease: Lease) -> Endpoint | None:
        kept = self._endpoints.get(webhook_id)
        if kept is not None and kept.config_at >= lease.claimed.config_at:
            return kept
        async with self._database.transaction() as tx:
            sealed = await tx.one(endpoint(webhook_id))
        if sealed is None:
            return None
        if len(self._endpoints) >= _CONFIGS:
            self._endpoints.clear()
        opened = open_endpoint(sealed, self._secrets.envelope)
        if opened.verified:
            self._endpoints[webhook_id] = opened
        return opened

    async def _write(self) -> None:
        """Record results as they come: those that came while the last batch was written together.

        A batch that cannot be written is kept until its leases are over.
        """
        while True:
            await self._ended.wait()
            batch = self._results[:_BATCH]
            pause = 0.1
            while True:
                try:
                    await self._record(batch)
                    break
                except (Unavailable, psycopg.Error, UnicodeError) as error:
                    refused = _away(error)
                    if refused is None:  # a defect, of one result: it must not hold up the others
                        if len(batch) > 1:
                            batch = batch[:1]
                            continue
                        bare = batch[0].without_texts()
                        if bare == batch[0]:
                            raise
                        _log.exception("not recorded", delivery=str(bare.delivery_id))
                        self._results[0] = batch[0] = bare
                        continue
                    _log.warning("database", what="results", detail=refused.detail)
                    await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - spreads retries
                    pause = min(_LONGEST_PAUSE, pause * 2)
            del self._results[: len(batch)]
            if not self._results:
                self._ended.clear()
            for result in batch:
                self._held.pop(result.token, None)
                self._places.leave(result.webhook_id, result.tenant_id)
            self._begin()
            metrics.count(batch)
            # A claim costs the database as much as a batch of results: not for a few more of many.
            if any(self._places.waiting(result.webhook_id) < self._low for result in batch):
                self._wake.set()

    async def _record(self, batch: list[Result]) -> None:
        after = self._settings.webhook_disable_hours * 3600
        first, *more = write_results(batch, worker=self.name, disable_after=after)
        if not more:
            await self._database.alone(first)
            return
        async with self._database.transaction() as tx:
            await tx.run_together([first, *more])

    async def _fan(self) -> bool:
        done, more = await self._fanning.round()
        if done:
            metrics.FANNED.inc(done)
            self._wake.set()
        return more

    async def _replay(self) -> bool:
        """Queue a page of each replay that has room."""
        queued = await self._fanning.replay()
        if queued:
            self._wake.set()
        return bool(queued)

    async def _renew(self) -> bool:
        if self._held:
            lease = self._settings.webhook_lease_seconds
            await self._database.alone(deliveries.renew(list(self._held), lease))
        return False

    async def _reap(self) -> bool:
        lost = await self._database.alone(deliveries.reap(_BATCH)) or 0
        if lost:
            metrics.LOST.inc(lost)
            _log.warning("took back", deliveries=lost)
            self._wake.set()
        return lost == _BATCH

    async def _observe(self) -> bool:
        async with self._database.transaction() as tx:
            show_queue(await tx.all(deliveries.queue_state()))
        return False

    async def _tell(self) -> bool:
        await self._database.alone(dead_letters.tell())
        return False

    async def _maintain(self) -> bool:
        settings = self._settings
        events = timedelta(days=settings.event_days)
        failed_days = timedelta(days=settings.webhook_failed_days)
        for days in delivery_retention.all_days(events, failed_days):
            async with self._database.transaction() as tx:
                await tx.one(days)
        successes = timedelta(hours=settings.webhook_success_hours)
        steps = [
            *delivery_retention.trim_successes(successes),
            delivery_retention.forget_resolved(events),
            delivery_retention.bury_held(events),
            alert_mails.forget(events),
        ]
        for step in steps:
            removed = delivery_retention.BATCH
            while removed >= delivery_retention.BATCH:
                async with self._database.transaction() as tx:
                    removed = await tx.run(step)
        return False

    async def _drain(self) -> None:
        """Give back what has no socket yet, wait for the rest, and record what came of it."""
        async with self._claiming:  # what is being claimed right now is to be given back too
            waiting = [lease.claimed.token for lease in self._places.clear()]
        if waiting:
            async with self._database.transaction() as tx:
                await tx.run(deliveries.release(waiting))
            for token in waiting:
                del self._held[token]
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._settings.webhook_drain_seconds)
        until = time.monotonic() + _LAST_RESULTS
        while self._results and time.monotonic() < until:
            await asyncio.sleep(0.02)
        if self._results:
            _log.warning("results were not recorded; their leases will end", held=len(self._held))


def _away(error: Exception) -> Unavailable | None:
    """What the error says of the database, when it says that it is away or in the way."""
    if isinstance(error, psycopg.Error):
        return unavailable(error)
    return error if isinstance(error, Unavailable) else None

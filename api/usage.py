"""When API keys were used: noted in memory, written beside the requests, once a minute per key."""

import asyncio
import time
from collections import OrderedDict
from contextlib import suppress

import psycopg
import structlog

from hubblewave_pipelines.core.errors import Unavailable
from hubblewave_pipelines.storage.database import AsyncDatabase
from hubblewave_pipelines.storage.tenants import note_keys

_EVERY = 60.0  # seconds between two writes of one key
_GATHERING = 1.0  # seconds to gather the keys of one write
_log = structlog.get_logger("api")


class Usage:
    """The keys that this process saw. `note` costs a look into a dict."""

    def __init__(self, database: AsyncDatabase, size: int = 10_000) -> None:
        self._database = database
        self._size = size
        self._written: OrderedDict[str, float] = OrderedDict()
        self._due: set[str] = set()
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def note(self, key_id: str) -> None:
        """The key was good just now."""
        at = self._written.get(key_id)
        if at is not None and time.monotonic() - at < _EVERY:
            return
        self._written[key_id] = time.monotonic()
        self._written.move_to_end(key_id)
        if len(self._written) > self._size:
            self._written.popitem(last=False)
        self._due.add(key_id)
        self._woken.set()

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Write what is still due, and stop."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await self._write()

    async def _run(self) -> None:
        while True:
            await self._woken.wait()
            await asyncio.sleep(_GATHERING)
            await self._write()

    async def _write(self) -> None:
        self._woken.clear()
        due, self._due = self._due, set()
        if not due:
            return
        try:
            await self._database.alone(note_keys(due))
        except (psycopg.Error, Unavailable) as error:
            # They are noted again a minute from now; no request waits for this.
            _log.warning("key use not written", keys=len(due), reason=type(error).__name__)

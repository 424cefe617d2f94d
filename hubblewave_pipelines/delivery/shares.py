"""One semaphore per key, made when it is needed and forgotten when nobody waits for it."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID


class Shares:
    """At most `most` at a time per key."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._locks: dict[UUID, asyncio.Semaphore] = {}
        self._users: Counter[UUID] = Counter()

    @asynccontextmanager
    async def of(self, key: UUID) -> AsyncIterator[None]:
        lock = self._locks.setdefault(key, asyncio.Semaphore(self._most))
        self._users[key] += 1
        try:
            async with lock:
                yield
        finally:
            self._users[key] -= 1
            if not self._users[key]:
                del self._users[key], self._locks[key]

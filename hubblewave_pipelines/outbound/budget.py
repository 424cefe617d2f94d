"""Leave to send: what a session asks before each request, so that all processes together keep the pace."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from hubblewave_pipelines.core.bucket import Bucket, Pace


class Budget(Protocol):
    """The budget of one connection, shared by whoever uses it."""

    pace: Pace

    def take(self) -> float:
        """Let one request through; the seconds it has to wait first."""
        ...

    def slow_down(self, wait: float) -> None:
        """The system asked for less: nobody sends for `wait` seconds, and more slowly after that."""
        ...


class MemoryBudget:
    """The budget of one process."""

    def __init__(
        self, pace: Pace | None = None, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self.pace = pace or Pace(rate=1e6, burst=1000)
        self._now = now
        self._lock = threading.Lock()
        self._bucket = Bucket.full(self.pace, now())

    def take(self) -> float:
        with self._lock:
            self._bucket, wait = self._bucket.take(self.pace, self._now())
            return wait

    def slow_down(self, wait: float) -> None:
        with self._lock:
            self._bucket = self._bucket.slowed(self.pace, self._now(), wait)

"""A vendor's clock: real or chosen time, which can be set, moved ahead, slowed, sped up or frozen."""

import time
from datetime import UTC, datetime, timedelta


class Clock:
    """Starts at `start` (None: now) and runs `rate` times as fast as ours; 0 stands still."""

    def __init__(self, start: datetime | None = None, rate: float = 1.0) -> None:
        self._base = start or datetime.now(UTC)
        self._since = time.monotonic()
        self._rate = rate

    def now(self) -> datetime:
        return self._base + timedelta(seconds=(time.monotonic() - self._since) * self._rate)

    def set(self, now: datetime) -> None:
        self._base, self._since = now, time.monotonic()

    def advance(self, by: timedelta) -> None:
        self._base += by

    def run(self, rate: float) -> None:
        """From now on run so many times as fast as ours."""
        self.set(self.now())
        self._rate = rate

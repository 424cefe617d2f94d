"""The rate of requests to one external system: a token bucket that slows down when told to and recovers slowly."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

_RECOVERY_SECONDS = 60.0  # from nothing back to the ceiling
_FLOOR = 0.05  # requests per second that remain however often the system complains
_CALM = timedelta(seconds=1)  # complaints this close to each other are one


@dataclass(frozen=True, slots=True)
class Pace:
    """What an admin allows: requests per second, how many at once after a pause, and the share of
    the system's own quota (0 to 1) that is left for others."""

    rate: float = 10.0
    burst: int = 10
    reserve: float = 0.1


@dataclass(frozen=True, slots=True)
class Bucket:
    """State of one connection, by one clock. Additive increase, multiplicative decrease.

    `empty_at` is when the requests let through so far would have been spread at `rate`.
    """

    rate: float
    empty_at: datetime
    changed_at: datetime
    slowed_at: datetime | None = None
    paused_until: datetime | None = None

    @classmethod
    def full(cls, pace: Pace, now: datetime) -> "Bucket":
        return cls(pace.rate, now, now)

    def take(self, pace: Pace, now: datetime) -> tuple["Bucket", float]:
        """One request is let through: the bucket after it, and the seconds it has to wait first."""
        passed = max(0.0, (now - self.changed_at).total_seconds())
        rate = min(pace.rate, self.rate + pace.rate * passed / _RECOVERY_SECONDS)
        at_once = max(1.0, pace.burst * rate / pace.rate)  # a slowed connection bursts less, too
        burst = timedelta(seconds=(at_once - 1) / rate)
        start = max(now, self.empty_at - burst, self.paused_until or now)
        empty_at = max(self.empty_at, start) + timedelta(seconds=1 / rate)
        after = replace(self, rate=rate, empty_at=empty_at, changed_at=now)
        return after, (start - now).total_seconds()

    def slowed(self, pace: Pace, now: datetime, wait: float) -> "Bucket":
        """The system asked for less: half the rate, and nothing for `wait` seconds."""
        fresh = self.slowed_at is None or now - self.slowed_at >= _CALM
        rate = max(min(_FLOOR, pace.rate), self.rate / 2) if fresh else self.rate
        until = max(self.paused_until or now, now + timedelta(seconds=wait))
        return replace(
            self,
            rate=rate,
            changed_at=now,
            slowed_at=now if fresh else self.slowed_at,
            paused_until=until,
        )


@dataclass(frozen=True, slots=True)
class Quota:
    """What the external system says of its own quota: how much of `limit` is left."""

    remaining: float
    limit: float

    def left_for_others(self, reserve: float) -> bool:
        """Whether only the reserved share is left."""
        return self.limit > 0 and self.remaining <= self.limit * reserve

"""How often a plan lets its holder ask: a sliding window of exact counts, and a block when it is full.

The law is that of the plans: `requests` in any window, then a block, after which counting starts
afresh. Times are whole milliseconds of any clock that does not run backwards.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace

SLOTS = 1000  # how finely a window is counted; bounds what a bucket holds, whatever its plan


@dataclass(frozen=True, slots=True)
class Limit:
    """A plan's allowance. `name` is shown to clients, so it never holds anything private."""

    name: str
    requests: int
    block_ms: int
    window_ms: int = 60_000

    @property
    def slot_ms(self) -> int:
        return max(1, self.window_ms // SLOTS)


PLAN_LIMITS: Mapping[str, Limit] = {
    "free": Limit("free", 100, 60_000),
    "professional": Limit("professional", 1_000, 30_000),
    "enterprise": Limit("enterprise", 10_000, 10_000),
}

# Requests whose key is not known to be good, by client address: room for a large office behind one
# address, none for guessing.
STRANGERS = Limit("unauthenticated", 600, 60_000)


def plan_limits(requests: Mapping[str, int]) -> dict[str, Limit]:
    """The limit of every plan, with another number of requests for the plans named."""
    return {
        name: replace(limit, requests=requests.get(name, limit.requests))
        for name, limit in PLAN_LIMITS.items()
    }


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a bucket answered: `retry_ms` is 0 for an admitted request, else the wait."""

    limit: Limit
    remaining: int
    reset_ms: int  # until the oldest counted request leaves the window, or the block ends
    retry_ms: int = 0

    @property
    def admitted(self) -> bool:
        return self.retry_ms == 0


class Bucket:
    """The requests of one holder in the last window. Holds at most SLOTS + 2 pairs of numbers.

    A request counts from its instant for one window and at most one slot more, so no window ever
    holds more than the limit, except that a block served in full wipes what came before it.
    """

    __slots__ = ("_blocked_until", "_slots", "_used")

    def __init__(self) -> None:
        self._slots: deque[list[int]] = deque()  # [number of the slot, requests in it]
        self._used = 0
        self._blocked_until = 0

    def take(self, limit: Limit, now: int) -> Allowance:
        """Count one request, or refuse it. The one that finds the window full starts the block."""
        if now < self._blocked_until:
            wait = self._blocked_until - now
            return Allowance(limit, 0, wait, wait)
        slots, slot_ms = self._slots, limit.slot_ms
        while slots and (slots[0][0] + 1) * slot_ms + limit.window_ms <= now:
            self._used -= slots.popleft()[1]
        if self._used >= limit.requests:
            slots.clear()
            self._used, self._blocked_until = 0, now + limit.block_ms
            return Allowance(limit, 0, limit.block_ms, limit.block_ms)
        slot = now // slot_ms
        if slots and slots[-1][0] >= slot:
            slots[-1][1] += 1
        else:
            slots.append([slot, 1])
        self._used += 1
        reset = (slots[0][0] + 1) * slot_ms + limit.window_ms - now
        return Allowance(limit, limit.requests - self._used, reset)

"""What waits to be sent on one socket: bounded, and fair between its operations.

Nobody who fills an outbox waits for the client; only the sender does. An operation whose client
does not keep up is ended with the place to resume from, and costs the others nothing.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field

from api.subscriptions.gauges import SENT

MOST_WAITING = 1_000  # messages of one operation
MOST_BYTES = 4_000_000  # characters of all messages of one socket
_MOST_ANSWERS = 100


@dataclass(eq=False)
class Lane:
    """The messages of one operation. `last` comes after everything that waits, and ends it."""

    operation: str
    start: str  # what its messages begin with
    waiting: deque[str] = field(default_factory=deque)
    last: str | None = None
    closed: bool = False


class Outbox:
    """`take` gives what is to be sent next; only one task may call it."""

    def __init__(self) -> None:
        self._answers: deque[str] = deque()
        self._ready: deque[Lane] = deque()
        self._size = 0
        self._filled = asyncio.Event()
        self._drained = asyncio.Event()

    @property
    def size(self) -> int:
        return self._size

    async def answer(self, text: str) -> None:
        """Say something of the connection itself; waits while the client takes nothing."""
        while len(self._answers) >= _MOST_ANSWERS:
            self._drained.clear()
            await self._drained.wait()
        self._answers.append(text)
        self._filled.set()

    def offer(self, lane: Lane, payload: str) -> bool:
        """Put the payload of a `next` in an operation's lane; false when there is no room."""
        if len(lane.waiting) >= MOST_WAITING or self._size + len(payload) > MOST_BYTES:
            return False
        self._push(lane, payload)
        return True

    def push(self, lane: Lane, payload: str) -> None:
        """Put the one payload of an operation that has no more, whatever its size."""
        self._push(lane, payload)

    def _push(self, lane: Lane, payload: str) -> None:
        if lane.closed:
            return
        if not lane.waiting:
            self._ready.append(lane)
        lane.waiting.append(payload)
        self._size += len(payload)
        self._filled.set()

    def finish(self, lane: Lane, text: str) -> None:
        """End an operation: `text` is sent after what waits, and nothing follows."""
        if lane.closed or lane.last is not None:
            return
        lane.last = text
        if not lane.waiting:
            self._ready.append(lane)
        self._filled.set()

    def close(self, lane: Lane) -> None:
        """Forget an operation: its client wants no more of it."""
        lane.closed = True
        self._size -= sum(map(len, lane.waiting))
        lane.waiting.clear()
        self._drained.set()

    async def room(self, lane: Lane) -> None:
        """Wait until a lane is half empty."""
        while not lane.closed and (
            len(lane.waiting) > MOST_WAITING // 2 or self._size > MOST_BYTES // 2
        ):
            self._drained.clear()
            await self._drained.wait()

    async def take(self) -> tuple[str, Lane | None]:
        """The next message, and the operation that it ends."""
        while True:
            if self._answers:
                self._drained.set()
                return self._answers.popleft(), None
            if self._ready:
                lane = self._ready.popleft()
                if lane.closed:
                    continue
                if not lane.waiting:
                    lane.closed = True
                    return lane.last or "", lane
                payload = lane.waiting.popleft()
                self._size -= len(payload)
                if lane.waiting or lane.last is not None:
                    self._ready.append(lane)
                self._drained.set()
                SENT.inc()
                return f"{lane.start}{payload}}}", None
            self._filled.clear()
            await self._filled.wait()

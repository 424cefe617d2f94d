"""External systems for tests of sessions: answer what a script says, one step per request, on a real socket."""

import asyncio
import gzip
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from hubblewave_pipelines.core.bucket import Pace
from hubblewave_pipelines.outbound.budget import MemoryBudget
from tests.plugins.receiver import Answer, Receiver, Request, receiving, reply

OK = reply(body=b'{"ok":true}', Content_Type="application/json")


def raw(*blocks: bytes, pause: float = 0.0, reset: bool = False) -> Answer:
    """Exact bytes, then the end of the connection: by a reset, or orderly."""

    async def answer(_: Request, writer: asyncio.StreamWriter) -> None:
        for block in blocks:
            writer.write(block)
            await writer.drain()
            if pause:
                await asyncio.sleep(pause)
        if reset:
            writer.transport.abort()
        else:
            writer.close()

    return answer


HANG_UP = raw()
RESET = raw(reset=True)
SHORT = raw(
    b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n{"ok":tr'
)
CUT_JSON = raw(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{"rows":[1,2')
_ZIPPED = gzip.compress(b'{"ok":true}' * 100)
CUT_GZIP = raw(
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Type: text/csv\r\n\r\n" + _ZIPPED[:-9]
)
CUT_CHUNKS = raw(
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/csv\r\n\r\n5\r\nhello\r\n"
)
NO_HTTP = raw(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")


class Script:
    """Answers in turn; the last one again and again."""

    def __init__(self, steps: Sequence[Answer]) -> None:
        self._steps = steps
        self._next = 0
        self._lock = threading.Lock()

    async def __call__(self, request: Request, writer: asyncio.StreamWriter) -> None:
        with self._lock:
            step = self._steps[min(self._next, len(self._steps) - 1)]
            self._next += 1
        await step(request, writer)


@contextmanager
def answering(*steps: Answer) -> Iterator[Receiver]:
    with receiving(Script(steps)) as system:
        yield system


def base(system: Receiver) -> str:
    return system.url.removesuffix("/hook")


class FakeTime:
    """A clock that only sleeping moves, for the session and its budget alike."""

    def __init__(self, pace: Pace | None = None) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.slept = 0.0
        self.budget = MemoryBudget(pace, lambda: self.now)

    def sleep(self, seconds: float) -> None:
        self.slept += seconds
        self.now += timedelta(seconds=seconds)

"""One sandbox process seen from outside: started with nothing, asked, killed at its deadline."""

import asyncio
import math
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import _quickjs

import hubblewave_pipelines
from hubblewave_pipelines.core.errors import TransformsUnavailable
from hubblewave_pipelines.delivery.sandbox import wire
from hubblewave_pipelines.delivery.sandbox.wire import Outcome

GRACE_SECONDS = 0.25
_START_SECONDS = 30.0
_HARDLY = 0.1  # of the time it had
_TICKS = os.sysconf("SC_CLK_TCK")
_NO_START = "The process for transforms did not start."
_ROOTS = [str(Path(hubblewave_pipelines.__file__).parents[1]), str(Path(_quickjs.__file__).parent)]
_PROGRAM = (
    f"import sys; sys.path += {_ROOTS!r}\n"
    "from hubblewave_pipelines.delivery.sandbox.worker import main; main()"
)


class Spent(Exception):
    """The process gave no answer and must be ended."""


class OutOfTime(Spent):
    """It computed until its deadline."""


class Stalled(Spent):
    """Its deadline came although it had hardly computed: the machine stood still, or stopped it."""


class Crashed(Spent):
    """It died."""


class Sandbox:
    """A process and our end of its only descriptor."""

    def __init__(self, tenant: str, process: subprocess.Popen[bytes], ours: socket.socket) -> None:
        self.tenant = tenant
        self.process = process
        self.weakness: str | None = None
        self.calls = 0
        self.busy_seconds = 0.0
        self.used_at = 0.0
        self._socket = ours

    @classmethod
    async def start(cls, tenant: str, *, weak: bool) -> Self:
        """A process that is ready and locked down, or says in `weakness` why it is not.

        Raises TransformsUnavailable when it does not start.
        """
        starting = asyncio.ensure_future(asyncio.to_thread(cls._start, tenant, weak))
        try:
            sandbox = await asyncio.shield(starting)
        except asyncio.CancelledError:
            starting.add_done_callback(_end_unwanted)
            raise
        except OSError as error:
            raise TransformsUnavailable(_NO_START) from error
        try:
            async with asyncio.timeout(_START_SECONDS):
                outcome, text = await sandbox._answer()
        except (TimeoutError, OSError, EOFError) as error:
            await sandbox.end()
            raise TransformsUnavailable(_NO_START) from error
        except BaseException:
            sandbox.kill()
            raise
        sandbox.weakness = None if outcome is Outcome.READY else text
        return sandbox

    @classmethod
    def _start(cls, tenant: str, weak: bool) -> Self:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and our own program
                [sys.executable, "-I", "-S", "-B", "-X", "utf8", "-c", _PROGRAM, *["weak"] * weak],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={"TZ": "UTC"},
                close_fds=True,
                start_new_session=True,
            )
        return cls(tenant, process, ours)

    def alive(self) -> bool:
        return self.process.poll() is None

    async def ask(self, code: str, event: bytes) -> tuple[Outcome, str]:
        """Run `code` on `event`. Raises OutOfTime, Stalled or Crashed when there is no answer."""
        loop = asyncio.get_running_loop()
        started, used = loop.time(), self._cpu_seconds()
        script = code.encode("utf-8", "replace")
        try:
            async with asyncio.timeout(wire.SECONDS + GRACE_SECONDS):
                head = wire.REQUEST.pack(len(script), len(event))
                await loop.sock_sendall(self._socket, head + script + event)
                return await self._answer()
        except TimeoutError as error:
            used = self._cpu_seconds() - used
            raise (Stalled if used < _HARDLY * wire.SECONDS else OutOfTime) from error
        except (OSError, EOFError, ValueError) as error:
            raise Crashed from error
        finally:
            self.calls += 1
            self.used_at = loop.time()
            self.busy_seconds += self.used_at - started

    async def _answer(self) -> tuple[Outcome, str]:
        kind, size = wire.REPLY.unpack(await self._receive(wire.REPLY.size))
        if size > 4 * wire.MAX_OUTPUT:
            raise ValueError("a reply of that size was not agreed on")
        return Outcome(kind), (await self._receive(size)).decode()

    async def _receive(self, size: int) -> bytes:
        loop = asyncio.get_running_loop()
        got = bytearray()
        while len(got) < size:
            piece = await loop.sock_recv(self._socket, size - len(got))
            if not piece:
                raise EOFError
            got += piece
        return bytes(got)

    def _cpu_seconds(self) -> float:
        """CPU time it has used so far; infinite where the system does not tell, so that a deadline
        is the script's own doing there."""
        try:
            stat = Path(f"/proc/{self.process.pid}/stat").read_text()
        except OSError:
            return math.inf
        user, system = stat.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / _TICKS

    def kill(self) -> None:
        """End it without waiting for the end."""
        self._socket.close()
        self.process.kill()
        asyncio.get_running_loop().run_in_executor(None, self.process.wait)

    async def end(self) -> None:
        """End it and wait for the end, which the kernel gives within moments."""
        self._socket.close()
        self.process.kill()
        await asyncio.to_thread(self.process.wait)


def _end_unwanted(starting: asyncio.Future[Any]) -> None:
    if not starting.cancelled() and starting.exception() is None:
        starting.result().kill()

"""Running tenants' transforms: a pool of locked-down processes, their limits enforced from outside."""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from hubblewave_pipelines.core.errors import TransformFailed, TransformsUnavailable
from hubblewave_pipelines.delivery.sandbox import wire
from hubblewave_pipelines.delivery.sandbox.keeper import Crashed, OutOfTime, Sandbox, Stalled
from hubblewave_pipelines.delivery.sandbox.wire import Outcome

MAX_DEPTH = 64
_CALLS = 1000  # of one process, then a fresh one
_BUSY_SECONDS = 60.0  # likewise; its CPU limit is twice that
_IDLE_SECONDS = 60.0
_TENANT_SHARE = 2


class TransformPool:
    """Processes that run transforms, one tenant at a time each; a failed one is replaced.

    Use it on one event loop and close it. Processes start when first needed and end after a minute
    of idleness. At most `running` transforms compute at a time (one per core, at least two), of one
    tenant at most two and never all of them, so that nobody's loops hold up the others.
    """

    def __init__(self, *, running: int | None = None, weak_isolation: bool = False) -> None:
        running = running or max(2, os.cpu_count() or 1)
        self._share = max(1, min(_TENANT_SHARE, running - 1))
        self._weak = weak_isolation
        self._slots = asyncio.Semaphore(running)
        self._kept = 8 * running
        self._idle: list[Sandbox] = []  # least recently used first
        self._shares: dict[str, asyncio.Semaphore] = {}
        self._users: Counter[str] = Counter()
        self._sweep: asyncio.TimerHandle | None = None

    async def run(self, tenant: str, code: str, event: bytes) -> bytes:
        """What the JavaScript function `code` makes of the payload: the JSON of an object.

        `event` is the payload as JSON. Raises TransformFailed, whose `context["reason"]` is timeout,
        memory, error, result, size or crash and whose detail may be shown to the tenant; and
        TransformsUnavailable where the process cannot be locked down.
        """
        if len(code.encode("utf-8", "replace")) > wire.MAX_CODE:
            raise _failed("size", f"The transform is longer than {wire.MAX_CODE} bytes.")
        if len(event) > wire.MAX_INPUT:
            raise _failed("size", f"The payload is longer than {wire.MAX_INPUT} bytes.")
        async with self._share_of(tenant), self._slots:
            try:
                outcome, text = await self._ask(tenant, code, event)
            except (Crashed, Stalled):  # the machine's doing perhaps: once more, in a fresh process
                outcome, text = await self._ask_again(tenant, code, event)
        return _result(outcome, text)

    async def check(self, code: str, sample: bytes, *, tenant: str = "") -> bytes:
        """Compile a transform and run it on a sample payload, as `run` will. Raises as `run`."""
        return await self.run(tenant, code, sample)

    async def close(self) -> None:
        """End every idle process. Call it when nothing is running."""
        if self._sweep is not None:
            self._sweep.cancel()
        ended, self._idle = self._idle, []
        await asyncio.gather(*(sandbox.end() for sandbox in ended))

    @asynccontextmanager
    async def _share_of(self, tenant: str) -> AsyncIterator[None]:
        share = self._shares.setdefault(tenant, asyncio.Semaphore(self._share))
        self._users[tenant] += 1
        try:
            async with share:
                yield
        finally:
            self._users[tenant] -= 1
            if not self._users[tenant]:
                del self._users[tenant], self._shares[tenant]

    async def _ask(self, tenant: str, code: str, event: bytes) -> tuple[Outcome, str]:
        sandbox = await self._take(tenant)
        fit = False
        try:
            answer = await sandbox.ask(code, event)
            fit = answer[0] not in (Outcome.OUT_OF_TIME, Outcome.OUT_OF_MEMORY)
        except OutOfTime:
            return Outcome.OUT_OF_TIME, ""
        finally:
            if fit and sandbox.calls < _CALLS and sandbox.busy_seconds < _BUSY_SECONDS:
                self._idle.append(sandbox)
                self._sweep_later()
            else:
                await sandbox.end()
        return answer

    async def _ask_again(self, tenant: str, code: str, event: bytes) -> tuple[Outcome, str]:
        try:
            return await self._ask(tenant, code, event)
        except Crashed as crash:
            raise _failed("crash", "The process that ran the transform died, twice.") from crash
        except Stalled as stall:
            raise TransformsUnavailable("The machine is too busy to run the transform.") from stall

    async def _take(self, tenant: str) -> Sandbox:
        """A process that last served this tenant, or a fresh one. The longest idle makes room."""
        for sandbox in reversed(self._idle):
            if sandbox.tenant == tenant:
                self._idle.remove(sandbox)
                if sandbox.alive():
                    return sandbox
                await sandbox.end()
                break
        if len(self._idle) >= self._kept:
            await self._idle.pop(0).end()
        sandbox = await Sandbox.start(tenant, weak=self._weak)
        if sandbox.weakness is not None and not self._weak:
            await sandbox.end()
            raise TransformsUnavailable(unavailable_because(sandbox.weakness))
        return sandbox

    def _sweep_later(self) -> None:
        if self._sweep is None:
            loop = asyncio.get_running_loop()
            self._sweep = loop.call_later(_IDLE_SECONDS, self._end_idle, loop)

    def _end_idle(self, loop: asyncio.AbstractEventLoop) -> None:
        self._sweep = None
        long_ago = loop.time() - _IDLE_SECONDS
        idle, self._idle = self._idle, []
        for sandbox in idle:
            if sandbox.used_at <= long_ago:
                sandbox.kill()
            else:
                self._idle.append(sandbox)
        if self._idle:
            self._sweep_later()


def unavailable_because(weakness: str) -> str:
    """What to tell whoever wants transforms on a machine that cannot lock their process down."""
    return (
        f"Transforms are off: their process cannot be locked down here ({weakness}). Run the worker "
        "on Linux with seccomp, or accept weaker isolation with "
        "HUBBLEWAVE_TRANSFORM_WEAK_ISOLATION=true."
    )


async def lock_down_fault() -> str | None:
    """Why this machine cannot lock down the process of transforms, or None when it can."""
    sandbox = await Sandbox.start("", weak=False)
    await sandbox.end()
    return sandbox.weakness


def _result(outcome: Outcome, text: str) -> bytes:
    match outcome:
        case Outcome.RESULT:
            return _checked(text.encode())
        case Outcome.RESULT_UNFIT:
            raise _failed("result", f"The transform must return an object; it returned {text}.")
        case Outcome.OUT_OF_TIME:
            raise _failed("timeout", f"The transform did not end within {wire.SECONDS:g} s.")
        case Outcome.OUT_OF_MEMORY:
            raise _failed(
                "memory", f"The transform needs more than {wire.MEMORY_BYTES >> 20} MiB of memory."
            )
        case _:
            raise _failed("error", f"The transform failed: {text}")


def _checked(result: bytes) -> bytes:
    """The process is believed nothing: this is an object in valid JSON, not large, not deep."""
    if len(result) > wire.MAX_OUTPUT:
        raise _failed("result", f"The result is longer than {wire.MAX_OUTPUT} bytes.")
    try:
        value = msgspec.json.decode(result)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise _failed("result", "The result is not valid JSON.") from error
    if not isinstance(value, dict):
        raise _failed("result", "The transform must return an object, not a list or a plain value.")
    if result.count(b"{") + result.count(b"[") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise _failed("result", f"The result is nested more than {MAX_DEPTH} deep.")
    return result


def _depth(value: object) -> int:
    depth, level = 0, [value]
    while level:
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        depth += 1
    return depth - 1


def _failed(reason: str, detail: str) -> TransformFailed:
    return TransformFailed(detail, reason=reason)

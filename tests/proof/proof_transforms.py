"""The sandbox battery at its full limits on one pool: how long each script lived, how much memory it got, what a
neighbour noticed; then what a transform costs.

Run it with `python -m tests.proof.proof_transforms`; exits with 1 when a script was not bounded.
"""

import asyncio
import json
import statistics
import sys
import time
from dataclasses import asdict, dataclass

from hubblewave_pipelines.core.errors import TransformFailed
from hubblewave_pipelines.delivery.sandbox import wire
from hubblewave_pipelines.delivery.sandbox.keeper import Sandbox
from hubblewave_pipelines.delivery.transforms import TransformPool
from tests.delivery.battery import ATTACKS, CONTROLS, peak_bytes

MIB = 1 << 20
MARGIN_SECONDS = 0.5
MARGIN_MIB = 12  # input, output and the engine itself
PAYLOAD = json.dumps({"event": "contact.created", "data": {"notes": "x" * 600}}).encode()


@dataclass(frozen=True)
class Case:
    name: str
    outcome: str
    seconds: float
    grown_mib: float

    @property
    def bounded(self) -> bool:
        allowed = wire.MEMORY_BYTES / MIB + MARGIN_MIB
        return self.seconds <= wire.SECONDS + MARGIN_SECONDS and self.grown_mib <= allowed


class Watch:
    """Notes for the process in use what it held when it was ready and when it ended or was kept."""

    def __init__(self) -> None:
        self.grown = 0.0
        self._bases: dict[int, int] = {}
        start, ask, end = Sandbox.start, Sandbox.ask, Sandbox.end

        async def noting_start(tenant: str, *, weak: bool) -> Sandbox:
            sandbox = await start(tenant, weak=weak)
            self._bases[sandbox.process.pid] = peak_bytes(sandbox.process.pid)
            return sandbox

        async def noting_ask(sandbox: Sandbox, code: str, event: bytes) -> object:
            try:
                return await ask(sandbox, code, event)
            finally:
                self._note(sandbox)

        async def noting_end(sandbox: Sandbox) -> None:
            self._note(sandbox)
            await end(sandbox)

        Sandbox.start, Sandbox.ask, Sandbox.end = noting_start, noting_ask, noting_end  # type: ignore[method-assign,assignment]

    def _note(self, sandbox: Sandbox) -> None:
        pid = sandbox.process.pid
        if sandbox.tenant == "evil":
            self.grown = max(self.grown, (peak_bytes(pid) - self._bases[pid]) / MIB)


async def attacked(pool: TransformPool, watch: Watch, name: str, code: str) -> Case:
    watch.grown, started = 0.0, time.monotonic()
    try:
        await pool.run("evil", code, b'{"a":1}')
        outcome = "result"
    except TransformFailed as failed:
        outcome = str(failed.context["reason"])
    return Case(name, outcome, round(time.monotonic() - started, 2), round(watch.grown, 1))


async def neighbour(pool: TransformPool, times: list[float]) -> None:
    """Another tenant's transform, ten times a second."""
    while True:
        started = time.monotonic()
        await pool.run("good", "p => ({event: p.event})", PAYLOAD)
        times.append(time.monotonic() - started)
        await asyncio.sleep(0.1)


async def throughput(pool: TransformPool, calls: int, *, at_once: int) -> float:
    left = iter(range(calls))

    async def work() -> None:
        for _ in left:
            await pool.run("good", "p => ({event: p.event, notes: p.data.notes})", PAYLOAD)

    started = time.monotonic()
    await asyncio.gather(*(work() for _ in range(at_once)))
    return calls / (time.monotonic() - started)


async def main() -> int:
    watch, pool = Watch(), TransformPool(running=2)
    times: list[float] = []
    beside = asyncio.ensure_future(neighbour(pool, times))
    scripts = {**ATTACKS, **{f"control {n}": code for n, code in enumerate(CONTROLS, 1)}}
    print(f"{'script':<22}{'outcome':<10}{'seconds':>8}{'MiB more':>10}")
    cases = []
    for name, code in scripts.items():
        case = await attacked(pool, watch, name, code)
        cases.append(case)
        print(f"{case.name:<22}{case.outcome:<10}{case.seconds:>8.2f}{case.grown_mib:>10.1f}")
    beside.cancel()
    await asyncio.gather(beside, return_exceptions=True)
    slowest = statistics.quantiles(times, n=100)[98]
    print(f"neighbour: {len(times)} calls meanwhile, p99 {slowest * 1000:.1f} ms, none failed")
    rate = {at_once: round(await throughput(pool, 1000, at_once=at_once)) for at_once in (1, 2)}
    print(f"calls per second: {rate[1]} one at a time, {rate[2]} two at a time")
    await pool.close()
    unbounded = [case.name for case in cases if not case.bounded]
    print(
        json.dumps(
            {
                "proof": "transforms",
                "cases": [asdict(case) for case in cases],
                "unbounded": unbounded,
                "slowest_seconds": max(case.seconds for case in cases),
                "most_mib": max(case.grown_mib for case in cases),
                "neighbour_p99_ms": round(slowest * 1000, 1),
                "calls_per_second": rate,
            }
        )
    )
    return 1 if unbounded else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))

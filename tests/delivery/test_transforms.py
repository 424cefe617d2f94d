"""Tenants' JavaScript in its locked-down processes: bounded whatever it does, and alone."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hubblewave_pipelines.commands.check import _transforms
from hubblewave_pipelines.core.errors import TransformFailed, TransformsUnavailable
from hubblewave_pipelines.delivery import transforms
from hubblewave_pipelines.delivery.sandbox import keeper, wire
from hubblewave_pipelines.delivery.sandbox.keeper import Sandbox
from hubblewave_pipelines.delivery.transforms import TransformPool, lock_down_fault
from hubblewave_pipelines.settings import Settings
from tests.delivery.battery import ATTACKS, CONTROLS, peak_bytes

MIB = 1 << 20


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deadlines of a second instead of five; the full ones are measured by tests/bench."""
    monkeypatch.setattr(wire, "SECONDS", 1.0)


@pytest.fixture
def peaks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How much memory each process held at most, above what it held when it was ready."""
    grown: list[int] = []
    start, end = Sandbox.start, Sandbox.end

    async def noting_start(tenant: str, *, weak: bool) -> Sandbox:
        sandbox: Any = await start(tenant, weak=weak)
        bases[sandbox.process.pid] = peak_bytes(sandbox.process.pid)
        return sandbox

    async def noting_end(self: Sandbox) -> None:
        grown.append(peak_bytes(self.process.pid) - bases.get(self.process.pid, 0))
        await end(self)

    bases: dict[int, int] = {}
    monkeypatch.setattr(Sandbox, "start", noting_start)
    monkeypatch.setattr(Sandbox, "end", noting_end)
    return grown


def failures(*codes: str, event: bytes = b'{"a":1}') -> list[TransformFailed]:
    """How each of these transforms fails, one after the other in one pool."""

    async def run() -> list[TransformFailed]:
        pool, failed = TransformPool(), []
        for code in codes:
            try:
                made = await pool.run("t", code, event)
            except TransformFailed as failure:
                failed.append(failure)
            else:
                pytest.fail(f"{code} made {made!r}")
        await pool.close()
        return failed

    return asyncio.run(run())


def test_W17_the_battery_is_bounded_and_a_neighbour_is_served_meanwhile(
    short: None, peaks: list[int]
) -> None:
    async def attack(pool: TransformPool, code: str) -> str:
        try:
            return (await pool.run("evil", code, b'{"a":1}')).decode()
        except TransformFailed as failed:
            return str(failed.context["reason"])
        except TransformsUnavailable:
            return "stalled"  # a machine so busy that the script got no CPU

    async def neighbour(pool: TransformPool, attacks: "asyncio.Task[list[str]]") -> int:
        served = 0
        while not attacks.done():
            made = await pool.run("good", "p => ({twice: p.n * 2})", b'{"n":%d}' % served)
            assert json.loads(made) == {"twice": served * 2}
            served += 1
            await asyncio.sleep(0.01)
        return served

    async def run() -> tuple[list[str], int]:
        pool = TransformPool(running=3)
        async with asyncio.timeout(120):
            attacks = asyncio.ensure_future(
                asyncio.gather(*(attack(pool, code) for code in [*ATTACKS.values(), *CONTROLS]))
            )
            served = await neighbour(pool, attacks)
        await pool.close()
        return attacks.result(), served

    outcomes, served = asyncio.run(run())
    found = dict(zip([*ATTACKS, *CONTROLS], outcomes, strict=True))
    assert [found.pop(code) for code in CONTROLS] == list(CONTROLS.values())
    fits = {"timeout", "memory", "error", "result", "stalled"}
    assert {name: how for name, how in found.items() if how not in fits} == {}
    assert "timeout" in found.values()
    assert "memory" in found.values()
    assert served > 20
    assert max(peaks) <= 64 * MIB + 12 * MIB, [peak // MIB for peak in peaks]


UNFIT = [
    ("p => undefined", "result"), ("p => null", "result"), ("p => 1", "result"),
    ("p => 'x'", "result"), ("p => [1]", "result"), ("p => p.a", "result"),
    ("p => () => 1", "result"), ("async p => p", "result"), ("p => ({toJSON: () => 1})", "result"),
    ("p => ({toJSON: () => undefined})", "result"), ("p => Symbol()", "result"),
    ("p => { p.p = p; return p }", "error"), ("p => ({n: 1n})", "error"),
    ("p => ({s: 'x'.repeat(2e7)})", "result"), ("p => ({s: 'ü'.repeat(9e5)})", "result"),
    ("p => { let o = {}, r = o; for (let i = 0; i < 70; i++) o = o.a = {}; return r }", "result"),
    ("p => ({s: '\\ud800'})", "result"), ("p => missing", "error"), ("p => {", "error"),
    ("", "error"), ("42", "error"), ("p => { throw 'é' }", "error"),
    ("import fs from 'fs'", "error"), ("p => '\0'", "error"), ("p => '\ud800'", "result"),
    ("/*" + "x" * 70_000 + "*/", "size"),
]  # fmt: skip


def test_W19_what_is_no_object_is_a_failure_with_its_reason() -> None:
    failed = failures(*(code for code, _ in UNFIT))
    reasons = [(code, how.context["reason"]) for (code, _), how in zip(UNFIT, failed, strict=True)]
    assert reasons == UNFIT
    assert not any("\0" in how.detail for how in failed)


def test_a_payload_over_the_limit_is_refused() -> None:
    (failed,) = failures("p => p", event=b'"' + b"x" * wire.MAX_INPUT + b'"')
    assert failed.context["reason"] == "size"


def test_the_result_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that a script had taken over could answer anything."""
    for text in (
        '{"a":1',
        "",
        "{} {}",
        '{"a":NaN}',
        "[" * 100_000,
        '{"a":' * 500 + "1" + "}" * 500,
    ):
        with pytest.raises(TransformFailed) as failed:
            transforms._result(wire.Outcome.RESULT, text)
        assert failed.value.context["reason"] == "result"


@pytest.mark.parametrize(
    "code",
    ["function (payload) { return {v: payload.a} }", "payload => ({v: payload.a})",
     "  (payload) => { const v = payload.a; return {v} };  ", "({a: v}) => ({v}) // a comment",
     "function named(p) { return {v: p.a}; };"],
)  # fmt: skip
def test_functions_in_any_form_of_the_language_run(code: str) -> None:
    async def run() -> bytes:
        pool = TransformPool()
        try:
            return await pool.check(code, '{"a":"ünïcødé \\u0000 🌊"}'.encode())
        finally:
            await pool.close()

    assert json.loads(asyncio.run(run())) == {"v": "ünïcødé \0 🌊"}


def test_W18_nothing_is_left_of_the_call_before_and_a_process_serves_one_tenant() -> None:
    spoil = """p => {
      globalThis.left = 1; Array.prototype.left = 2; Object.prototype.toJSON = () => 'spoilt';
      JSON.stringify = () => '{}'; JSON.parse = () => ({}); Promise = 1;
      return Object.create(null)
    }"""
    look = "p => ({left: [typeof left, [].left ?? 0, p.secret ?? 0, JSON.stringify(7)]})"
    clean = {"left": ["undefined", 0, 0, "7"]}

    async def run() -> None:
        pool = TransformPool()
        try:
            await pool.run("a", spoil, b'{"secret":1}')
            (first,) = pool._idle
            assert json.loads(await pool.run("a", look, b"{}")) == clean
            assert pool._idle == [first], "the process was not kept"
            assert json.loads(await pool.run("b", look, b"{}")) == clean
            assert {sandbox.tenant for sandbox in pool._idle} == {"a", "b"}
        finally:
            await pool.close()

    asyncio.run(run())


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGSEGV, signal.SIGSTOP])
def test_F10_a_process_that_dies_or_stops_is_replaced_and_the_transform_run_again(
    short: None, sent: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = Sandbox.ask
    struck: list[int] = []

    async def struck_once(self: Sandbox, code: str, event: bytes) -> tuple[wire.Outcome, str]:
        if not struck:
            struck.append(self.process.pid)
            os.kill(self.process.pid, sent)
        return await sound(self, code, event)

    monkeypatch.setattr(Sandbox, "ask", struck_once)

    async def run() -> tuple[bytes, int]:
        pool = TransformPool()
        try:
            made = await pool.run("t", "p => p", b'{"a":1}')
            return made, pool._idle[0].process.pid
        finally:
            await pool.close()

    made, pid = asyncio.run(run())
    assert made == b'{"a":1}'
    assert struck != [pid]
    assert not Path(f"/proc/{struck[0]}").exists(), "the process was left behind"


def test_F10_a_machine_that_stands_still_is_no_fault_of_the_transform(
    short: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = Sandbox.ask

    def striking(sent: signal.Signals) -> Any:
        async def ask(self: Sandbox, code: str, event: bytes) -> tuple[wire.Outcome, str]:
            os.kill(self.process.pid, sent)
            return await sound(self, code, event)

        return ask

    async def run(expected: type[Exception]) -> None:
        pool = TransformPool()
        with pytest.raises(expected):
            await pool.run("t", "p => p", b"{}")
        assert pool._idle == []
        assert pool._shares == {}

    monkeypatch.setattr(Sandbox, "ask", striking(signal.SIGSTOP))
    asyncio.run(run(TransformsUnavailable))
    monkeypatch.setattr(Sandbox, "ask", striking(signal.SIGKILL))
    asyncio.run(run(TransformFailed))


def test_a_caller_that_gives_up_leaves_no_process_behind() -> None:
    async def run() -> None:
        pool = TransformPool(running=1)
        ran = asyncio.ensure_future(pool.run("t", "p => { for (;;); }", b"{}"))
        await asyncio.sleep(0.5)
        ran.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ran
        assert await pool.run("t", "p => p", b"{}") == b"{}"
        await pool.close()
        assert pool._idle == []

    asyncio.run(run())


def test_processes_end_when_idle_and_after_many_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transforms, "_IDLE_SECONDS", 0.2)
    monkeypatch.setattr(transforms, "_CALLS", 3)

    async def run() -> None:
        pool = TransformPool()
        pids = []
        for _ in range(3):
            await pool.run("t", "p => p", b"{}")
            pids += [sandbox.process for sandbox in pool._idle]
        assert len(set(pids)) == 1
        assert pool._idle == [], "the third call was to be its last"
        await pool.run("t", "p => p", b"{}")
        (process,) = (sandbox.process for sandbox in pool._idle)
        async with asyncio.timeout(20):
            while pool._idle or process.poll() is None:
                await asyncio.sleep(0.05)
        await pool.close()

    asyncio.run(run())


FORBIDDEN = {
    "open": "open('/etc/passwd')",
    "socket": "__import__('_socket').socket()",
    "fork": "os.fork()",
    "exec": "os.execv('/bin/true', ['true'])",
    "kill": "os.kill(1, 0)",
    "ptrace": "libc.ptrace(16, 1, 0, 0)",
    "mprotect to run data": "libc.mprotect(address, 4096, 7)",
    "mmap to run data": "libc.mmap(0, 4096, 7, 0x22, -1, 0)",
    "process_vm_readv": "libc.syscall(310, 1, 0, 0, 0, 0, 0)",
    "io_uring": "libc.syscall(425, 1, 0)",
    "unlink": "os.unlink('/tmp/x')",
}


@pytest.mark.parametrize("action", FORBIDDEN)
def test_W17_a_locked_down_process_dies_at_its_first_reach_outside(action: str) -> None:
    program = (
        "import ctypes, os, mmap, _socket\n"
        "from hubblewave_pipelines.delivery.sandbox import lockdown\n"
        "libc = ctypes.CDLL(None); libc.mmap.restype = ctypes.c_void_p\n"
        "libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]\n"
        "page = mmap.mmap(-1, 4096); address = ctypes.addressof(ctypes.c_char.from_buffer(page))\n"
        "os.write(1, b'before ')\n"
        "lockdown.forbid_system_calls()\n"
        "os.write(1, b'locked ')\n"
        f"{FORBIDDEN[action]}\n"
        "os.write(1, b'after')\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=False, timeout=60
    )
    assert (ran.stdout, ran.returncode) == (b"before locked ", -signal.SIGSYS), ran.stderr


def test_the_limits_of_the_process_hold() -> None:
    program = (
        "import os, resource\n"
        "from hubblewave_pipelines.delivery.sandbox import lockdown\n"
        "lockdown.limit_resources(64 << 20, 7)\n"
        "try: bytearray(80 << 20)\n"
        "except MemoryError: os.write(1, b'no memory ')\n"
        "try: os.fork()\n"
        "except OSError: os.write(1, b'no process ')\n"
        "os.write(1, str(resource.getrlimit(resource.RLIMIT_CPU)).encode())\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=False, timeout=60, text=True
    )
    assert ran.stdout == "no memory no process (7, 7)", ran.stderr


def test_the_process_starts_with_nothing_of_ours(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HUBBLEWAVE_DATABASE_URL", "postgresql://canary")
    tells = (
        "import os, struct\n"
        "seen = {'environment': sorted(os.environ), 'files': sorted(os.listdir('/proc/self/fd'))[:-1],"
        " 'folder': os.getcwd(), 'own session': os.getsid(0) == os.getpid()}\n"
        "import json; text = json.dumps(seen).encode()\n"
        "os.write(0, struct.pack('!BI', 1, len(text)) + text)\n"
    )
    monkeypatch.setattr(keeper, "_PROGRAM", tells)
    with (tmp_path / "open").open("w") as inherited:
        os.set_inheritable(inherited.fileno(), True)
        seen = json.loads(asyncio.run(lock_down_fault()) or "{}")
    # Python adds LC_CTYPE by itself where the locale is C.
    assert set(seen.pop("environment")) - {"LC_CTYPE"} == {"TZ"}
    assert seen == {"files": ["0", "1", "2"], "folder": "/", "own session": True}


def test_where_the_kernel_cannot_lock_it_down_transforms_are_off_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert asyncio.run(lock_down_fault()) is None
    before, _, last = keeper._PROGRAM.rpartition("\n")
    without = (
        "from hubblewave_pipelines.delivery.sandbox import lockdown\n"
        "def denied(): raise lockdown.CannotLockDown('seccomp filter: Invalid argument')\n"
        "lockdown.forbid_system_calls = denied"
    )
    monkeypatch.setattr(keeper, "_PROGRAM", f"{before}\n{without}\n{last}")

    async def run(weak: bool) -> bytes:
        pool = TransformPool(weak_isolation=weak)
        try:
            return await pool.run("t", "p => p", b"{}")
        finally:
            await pool.close()

    with pytest.raises(TransformsUnavailable, match=r"seccomp filter: Invalid.*WEAK_ISOLATION"):
        asyncio.run(run(False))
    assert asyncio.run(run(True)) == b"{}"
    off, weak = (_transforms(Settings(transform_weak_isolation=is_set)) for is_set in (False, True))
    assert (off.state, weak.state) == ("skipped", "ok")
    assert "HUBBLEWAVE_TRANSFORM_WEAK_ISOLATION" in off.detail
    monkeypatch.setattr(keeper, "_PROGRAM", "raise SystemExit(1)")
    with pytest.raises(TransformsUnavailable, match="did not start"):
        asyncio.run(run(False))

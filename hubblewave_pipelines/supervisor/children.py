"""Supervised parts: start, watch, restart with growing pauses, stop in order."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from hubblewave_pipelines.core.errors import PlatformError
from hubblewave_pipelines.supervisor.death import die_with_parent

SHORTEST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds between an end and the next start
_SETTLED = 60.0  # seconds of life after which an end counts as the first again
_PROBE_EVERY, _PROBE_AGAIN = 5.0, 1.0
_PROBE_FAILURES = 3
_PROBE_FIRST = 0.2
_LONGEST_START = 120.0  # seconds after which a part that never answered counts as failing


def pause_after(ends: int) -> float:
    """Seconds to wait before the next start, after `ends` earlier ends in a row."""
    return min(LONGEST_PAUSE, SHORTEST_PAUSE * 2.0 ** min(ends, 16))


class Part(Protocol):
    """Something that runs beside us: a child process or the embedded server."""

    @property
    def name(self) -> str: ...
    @property
    def pid(self) -> int | None: ...
    @property
    def exit_code(self) -> int | None: ...
    def start(self) -> None: ...
    def alive(self) -> bool: ...
    def stop(self, *, timeout: float) -> None: ...


class Child:
    """One child process in a session of its own, its output going to a pipe of the supervisor."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        output: int,
        stdin: int = subprocess.DEVNULL,
        cwd: Path = Path("/"),
        before: Callable[[], None] | None = None,
    ) -> None:
        self.name = name
        self._arguments = list(arguments)
        self._environment = dict(environment)
        self._output = output
        self._stdin = stdin
        self._cwd = cwd
        self._before = before
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    @property
    def exit_code(self) -> int | None:
        return None if self._process is None else self._process.poll()

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process; returns at once. Call from the main thread (see `death`)."""
        if self._before is not None:
            self._before()
        self._process = subprocess.Popen(
            self._arguments,
            env=self._environment,
            cwd=self._cwd,
            stdin=self._stdin,
            stdout=self._output,
            stderr=self._output,
            start_new_session=True,  # Ctrl-C on the terminal is for the supervisor alone
            preexec_fn=die_with_parent(signal.SIGTERM),
        )

    def ask_to_stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def stop(self, *, timeout: float) -> None:
        """SIGTERM, then SIGKILL to its whole process group once `timeout` seconds are over."""
        if self._process is None:
            return
        self.ask_to_stop()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


@dataclass
class _Watched:
    part: Part
    probe: Callable[[], bool] | None
    probe_every: float
    started_at: float = field(default_factory=time.monotonic)
    restart_at: float | None = None
    ends: int = 0
    seen_well: bool = False
    failures: int = 0
    next_probe: float = 0.0


class Watch:
    """Keeps parts alive. Single-threaded: `tick` is called by the owner's loop."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._watched: list[_Watched] = []

    @property
    def parts(self) -> list[Part]:
        return [watched.part for watched in self._watched]

    def add(
        self, part: Part, *, probe: Callable[[], bool] | None = None, every: float = _PROBE_EVERY
    ) -> None:
        """Start `part` and keep it running. A `probe` (asked `every` so many seconds) that answered
        once and then fails repeatedly has the part restarted, dead or not; so has one that has not
        answered two minutes after the start.

        Raises what the first start raises.
        """
        part.start()
        self._watched.append(_Watched(part, probe, every))

    def well(self, part: Part) -> bool:
        """Has this part answered its probe since it was last started?"""
        return any(watched.part is part and watched.seen_well for watched in self._watched)

    def tick(self) -> None:
        """Notice ends, restart what is due, probe what is due. Takes no longer than its probes."""
        for watched in self._watched:
            if watched.restart_at is not None:
                if time.monotonic() >= watched.restart_at:
                    self._restart(watched)
            elif not watched.part.alive():
                self._ended(watched, _how_it_ended(watched.part.exit_code))
            elif watched.probe is not None and time.monotonic() >= watched.next_probe:
                self._probe(watched, watched.probe)

    def stop(self, parts: Sequence[Part], *, timeout: float) -> None:
        """Stop these together and watch them no more."""
        self._watched = [watched for watched in self._watched if watched.part not in parts]
        for part in parts:
            if isinstance(part, Child):
                part.ask_to_stop()
        deadline = time.monotonic() + timeout
        for part in parts:
            part.stop(timeout=max(0.1, deadline - time.monotonic()))

    def _ended(self, watched: _Watched, how: str) -> None:
        if time.monotonic() - watched.started_at > _SETTLED:
            watched.ends = 0
        pause = pause_after(watched.ends)
        watched.ends += 1
        watched.restart_at = time.monotonic() + pause
        self._say(f"{watched.part.name} {how}; starting it again in {pause:g} s")

    def _restart(self, watched: _Watched) -> None:
        watched.started_at = time.monotonic()
        try:
            watched.part.start()
        except (PlatformError, OSError) as error:
            self._ended(watched, f"could not be started ({error})")
            return
        watched.restart_at = None
        watched.seen_well, watched.failures = False, 0
        self._say(f"{watched.part.name} runs again (process {watched.part.pid})")

    def _probe(self, watched: _Watched, probe: Callable[[], bool]) -> None:
        well = probe()
        watched.seen_well = watched.seen_well or well
        starting = time.monotonic() - watched.started_at < _LONGEST_START
        excused = well or (starting and not watched.seen_well)
        watched.failures = 0 if excused else watched.failures + 1
        every = watched.probe_every
        if not watched.seen_well:
            every = min(_PROBE_FIRST, every)
        elif watched.failures:
            every = min(_PROBE_AGAIN, every)
        watched.next_probe = time.monotonic() + every
        if watched.failures >= _PROBE_FAILURES:
            watched.part.stop(timeout=5)
            self._ended(watched, "runs but does not answer, and was stopped")


def _how_it_ended(code: int | None) -> str:
    if code is not None and code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with code {code}"

"""Watching real processes: restarted with growing pauses, probed, stopped, never orphaned."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubblewave_pipelines.supervisor import children, guard
from hubblewave_pipelines.supervisor.children import (
    LONGEST_PAUSE,
    SHORTEST_PAUSE,
    Child,
    Watch,
    pause_after,
)

ENVIRONMENT = {"PATH": "/usr/bin:/bin"}


def child(name: str, script: str, mark: str | None = None) -> Child:
    environment = {**ENVIRONMENT, **({guard.VARIABLE: mark} if mark else {})}
    return Child(name, ["/bin/sh", "-c", script], environment, output=subprocess.DEVNULL)


def tick_until(watch: Watch, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not happen within 30 s"
        watch.tick()
        time.sleep(0.02)


@given(st.integers(0, 10_000))
def test_pauses_grow_and_are_bounded(ends: int) -> None:
    assert SHORTEST_PAUSE <= pause_after(ends) <= pause_after(ends + 1) <= LONGEST_PAUSE


def test_a_child_that_ends_is_started_again_and_it_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    watch = Watch(said.append)
    runs = tmp_path / "runs"
    failing = child("failing", f"echo x >> {runs}; exit 3")
    watch.add(failing)
    tick_until(watch, lambda: runs.exists() and runs.read_text().count("x") >= 3)
    watch.stop([failing], timeout=1)
    assert said[0] == "failing ended with code 3; starting it again in 0.5 s"
    assert said[1].startswith("failing runs again (process ")
    assert said[2] == "failing ended with code 3; starting it again in 1 s"


def test_a_killed_child_is_started_again() -> None:
    said: list[str] = []
    watch = Watch(said.append)
    sleeping = child("sleeping", "exec sleep 600")
    watch.add(sleeping)
    first = sleeping.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    tick_until(watch, lambda: sleeping.pid != first and sleeping.alive())
    watch.stop([sleeping], timeout=5)
    assert "was ended by SIGKILL" in said[0]
    assert not sleeping.alive()


def test_a_child_that_stops_answering_is_restarted_and_a_slow_starter_is_not() -> None:
    said: list[str] = []
    watch = Watch(said.append)
    answers = [False, False, False, False, True, False, False, False]
    sleeping = child("sleeping", "exec sleep 600")
    watch.add(sleeping, probe=lambda: answers.pop(0) if answers else True, every=0.01)
    first = sleeping.pid
    tick_until(watch, lambda: sleeping.pid != first)
    watch.stop([sleeping], timeout=5)
    assert said[0] == (
        "sleeping runs but does not answer, and was stopped; starting it again in 0.5 s"
    )
    assert answers == []


def test_a_child_that_never_answers_is_restarted_once_a_start_cannot_take_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may have lost the process that answers before it was first asked."""
    said: list[str] = []
    watch = Watch(said.append)
    sleeping = child("sleeping", "exec sleep 600")
    watch.add(sleeping, probe=lambda: False, every=0.01)
    first = sleeping.pid
    for _ in range(10):
        watch.tick()
        time.sleep(0.02)
    assert sleeping.pid == first
    assert not watch.well(sleeping)
    monkeypatch.setattr(children, "_LONGEST_START", 0.0)
    tick_until(watch, lambda: sleeping.pid != first)
    watch.stop([sleeping], timeout=5)
    assert "sleeping runs but does not answer, and was stopped" in said[0]


def test_a_child_that_ignores_sigterm_is_killed_with_its_descendants(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    stubborn = child("stubborn", f"trap '' TERM; sleep 600 & echo $! > {told}; wait; wait; wait")
    stubborn.start()
    tick_until(Watch(print), lambda: told.exists() and told.read_text().strip() != "")
    grandchild = int(told.read_text())
    stubborn.stop(timeout=0.3)
    assert not stubborn.alive()
    tick_until(Watch(print), lambda: not is_running(grandchild))


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_guard_ends_descendants_that_left_their_group_when_we_die(tmp_path: Path) -> None:
    """A stand-in supervisor is killed; its detached grandchild must end, a stranger must not."""
    mark = str(tmp_path)
    script = (
        "import subprocess, sys, time, os\n"
        "from hubblewave_pipelines.supervisor import guard\n"
        "read_end, write_end = os.pipe()\n"
        "subprocess.Popen([sys.executable, '-I', '-S', guard.__file__, sys.argv[1]], stdin=read_end,"
        " start_new_session=True, env={})\n"
        "sleeping = subprocess.Popen(['/bin/sh', '-c', 'trap \"\" TERM; sleep 600; sleep 600'],"
        " start_new_session=True, env={guard.VARIABLE: sys.argv[1]})\n"
        "print(sleeping.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    stranger = subprocess.Popen(["/bin/sleep", "600"], env={guard.VARIABLE: mark + "x"})
    supervisor = subprocess.Popen(
        [sys.executable, "-c", script, mark], stdout=subprocess.PIPE, text=True
    )
    assert supervisor.stdout is not None
    detached = int(supervisor.stdout.readline())
    assert is_running(detached)
    supervisor.kill()
    supervisor.wait()
    tick_until(Watch(print), lambda: not is_running(detached))
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def heed_sigterm() -> None:
    """As a fresh process does, whatever tests before this one left their process ignoring."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def test_an_orderly_end_leaves_the_guard_nothing_to_do(tmp_path: Path) -> None:
    mark = str(tmp_path)
    left = subprocess.Popen(
        ["/bin/sleep", "600"], env={guard.VARIABLE: mark}, preexec_fn=heed_sigterm
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", guard.__file__, mark], input=b"bye\n", check=True, timeout=10
    )
    assert done.returncode == 0
    assert left.poll() is None
    assert guard.supervised(mark) == [left.pid]
    assert guard.end_all(mark, grace=60) == 1
    assert left.wait(5) == -signal.SIGTERM

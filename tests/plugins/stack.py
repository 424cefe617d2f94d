"""A running `hubblewave up` for end-to-end tests: the `stack` fixture and what it is made of."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

START_SECONDS = 180
MARK = "HUBBLEWAVE_SUPERVISED"


def eventually(condition: Callable[[], bool], what: str, *, seconds: float = 60) -> None:
    """Wait until `condition` holds; fails the test naming `what` when it does not come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        time.sleep(0.1)


class Up:
    """One `hubblewave up` on a data directory, its ports free ones."""

    PROGRAM = (sys.executable, "-m", "hubblewave_pipelines")

    @staticmethod
    def environment() -> dict[str, str]:
        """What children of a test start from."""
        return dict(os.environ)  # noqa: TID251 - a child of a test

    def __init__(self, data_dir: Path, environment: Mapping[str, str] | None = None) -> None:
        self.data_dir = data_dir
        self.ready_file = data_dir.with_name(f"{data_dir.name}-ready.json")
        self.log = data_dir.with_name(f"{data_dir.name}-up.log")
        self._environment = dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None
        self.ready: dict[str, Any] = {}
        self.api_key: str = ""

    def start(self, *arguments: str) -> None:
        """Start it without waiting."""
        command = [*self.PROGRAM, "up"]
        command += ["--data-dir", str(self.data_dir), "--ready-file", str(self.ready_file)]
        ports = [] if arguments else ["--api-port", "0", "--dagster-port", "0"]
        self.ready_file.unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *ports, *arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**self.environment(), **self._environment},
                start_new_session=True,
            )

    def wait_ready(self) -> dict[str, Any]:
        """Until everything answers; fails with the end of the log when it ends instead."""
        deadline = time.monotonic() + START_SECONDS
        while not self.ready_file.exists():
            assert self.process.poll() is None, f"`up` ended:\n{self.tail()}"
            assert time.monotonic() < deadline, f"`up` is not ready:\n{self.tail()}"
            time.sleep(0.1)
        self.ready = json.loads(self.ready_file.read_text())
        self.api_key = self.ready["api_key"] or self.api_key
        return self.ready

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "call start first"
        return self._process

    def tail(self, lines: int = 40) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self) -> int:
        """SIGTERM and wait; the exit code."""
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.terminate()
        return self._process.wait(60)

    def processes(self) -> list[int]:
        """Every process that belongs to it: supervised ones, their descendants, PostgreSQL's."""
        data = (self.data_dir / "postgres" / "data").resolve()
        guard = f"guard.py\0{self.data_dir}\0".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                marked = f"{MARK}={self.data_dir}".encode() in (entry / "environ").read_bytes()
                command = (entry / "cmdline").read_bytes()
                serves = (entry / "cwd").resolve(strict=True) == data
                zombie = (entry / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
            except OSError:
                continue
            if (marked or serves or command.endswith(guard)) and not zombie:
                found.append(int(entry.name))
        return found

    def pids(self, *words: str) -> list[int]:
        """Its processes whose command line holds all of these words."""
        found = []
        for pid in self.processes():
            try:
                command = Path(f"/proc/{pid}/cmdline").read_bytes().decode()
            except OSError:
                continue
            if all(word in command for word in words):
                found.append(pid)
        return found

    def kill(self, *words: str) -> list[int]:
        """SIGKILL to its processes whose command line holds all of these words; who they were."""
        killed = self.pids(*words)
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        return killed

    def kill_everything(self) -> None:
        """SIGKILL to the supervisor and everything below it, as a power cut would."""
        pids = [self.process.pid, *self.processes()]
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()

    def get(self, path: str, *, key: str | None = None) -> tuple[int, Any]:
        """Status and JSON of a GET; status 0 when nothing answers."""
        request = urllib.request.Request(f"{self.ready['api_url']}{path}")
        request.add_header("X-API-Key", self.api_key if key is None else key)
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return response.status, json.loads(response.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"null")
        except OSError:
            return 0, None


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A platform for all end-to-end tests of this worker: mark them with
    `pytest.mark.stack` and `pytest.mark.xdist_group("stack")`, and leave it running and well."""
    up = Up(tmp_path_factory.mktemp("stack") / "data")
    up.start()
    up.wait_ready()
    yield up
    up.stop()

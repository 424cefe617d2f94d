"""The warm process: holds everything a run needs in memory and forks one child per run.

Started by `definitions.runner`. It stays single-threaded and keeps no connection, so that a fork
carries nothing it must not share.
"""

import gc
import importlib
import json
import logging
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from dagster._core.definitions.definitions_load_context import (
    DefinitionsLoadContext,
    DefinitionsLoadType,
)
from dagster._core.storage.defs_state.base import set_defs_state_storage

from hubblewave_pipelines.core.errors import Misconfigured, PlatformError
from hubblewave_pipelines.definitions import warm_run
from hubblewave_pipelines.definitions.defs_state import PgDefsStateStorage
from hubblewave_pipelines.definitions.entities import VERSION_METADATA
from hubblewave_pipelines.settings import Settings

logger = logging.getLogger("hubblewave.runner")
_PRELOADED = ("pyarrow", "pyarrow.csv", "pyarrow.compute", "dagster_postgres", "psycopg2")
_STOP_SECONDS = 10.0


class Runner:
    """Forks runs, watches the children, and loads the definitions again when they went stale."""

    def __init__(self, settings: Settings, socket_path: Path) -> None:
        self._slots = settings.run_slots
        self._storage = PgDefsStateStorage(
            settings.require_database_url(), str(settings.data_dir / "defs-state")
        )
        self._path = socket_path
        self._runs: dict[int, str] = {}  # run id by pid of the child
        self._reporters: set[int] = set()
        self._location: ModuleType | None = None
        self._stopping = False
        self._stale = False
        self._version = ""  # of the state that the definitions were built from

    def load(self) -> None:
        """Build the definitions from the newest state. Raises what building them raises."""
        with set_defs_state_storage(self._storage):
            DefinitionsLoadContext.set(DefinitionsLoadContext(DefinitionsLoadType.INITIALIZATION))
            if self._location is None:
                self._location = importlib.import_module(warm_run.LOCATION)
            else:
                gc.unfreeze()
                self._location = importlib.reload(self._location)
            self._location.defs.get_repository_def().load_all_definitions()
        self._version = str(self._location.defs.metadata[VERSION_METADATA].value)
        gc.collect()
        gc.freeze()  # the collector would touch, and so copy, every page in each child

    def serve(self) -> None:
        """Until SIGTERM or SIGINT: take questions, reap children."""
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write)
        signal.signal(signal.SIGCHLD, _ignore)
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        self._path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
            mask = os.umask(0o177)
            server.bind(str(self._path))
            os.umask(mask)
            server.listen(64)
            logger.info("Warm runner ready at %s", self._path)
            watched: list[socket.socket | int] = [server, wake_read]
            while not self._stopping:
                ready, _, _ = select.select(watched, [], [], 0.0 if self._stale else 5.0)
                if wake_read in ready:
                    os.read(wake_read, 4096)
                self._reap()
                if server in ready:
                    self._answer(server)
                elif self._stale:  # nobody waits for us right now
                    self._load_again()
        self._path.unlink(missing_ok=True)
        self._stop_children()

    def _answer(self, server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            connection.settimeout(2.0)
            try:
                with connection.makefile("rb") as lines:
                    question = json.loads(lines.readline(65536))
                answer = self._act(question)
                connection.sendall(json.dumps(answer).encode() + b"\n")
            except (OSError, ValueError) as error:
                logger.warning("A question to the runner could not be answered: %s", error)

    def _act(self, question: dict[str, Any]) -> dict[str, Any]:
        if "launch" in question:
            run_id = str(question["launch"])
            if run_id in self._runs.values():
                return {"pid": self._pid_of(run_id)}
            if len(self._runs) >= self._slots:
                return {"refused": f"all {self._slots} slots are taken"}
            pid = self._fork(lambda: warm_run.execute(run_id))
            self._runs[pid] = run_id
            return {"pid": pid}
        if "terminate" in question:
            pid_or_none = self._pid_of(str(question["terminate"]))
            if pid_or_none is not None:
                os.kill(pid_or_none, signal.SIGINT)
            return {"signalled": pid_or_none is not None}
        if "reload" in question:
            self._stale = True
        return {
            "pid": os.getpid(),
            "runs": sorted(self._runs.values()),
            "definitions": self._version,
        }

    def _pid_of(self, run_id: str) -> int | None:
        return next((pid for pid, run in self._runs.items() if run == run_id), None)

    def _fork(self, body: Callable[[], int]) -> int:
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for name in (signal.SIGCHLD, signal.SIGTERM):
                signal.signal(name, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.closerange(3, 64)  # the runner's socket, pipe and the question's connection
            code = body()
        except BaseException:
            logger.exception("A run's process ended by an error outside the run")
            code = 1
            raise
        finally:
            # Not sys.exit: nothing of the parent's may run its exit handlers in here.
            logging.shutdown()
            os._exit(code)

    def _reap(self) -> None:
        """Collect children that ended."""
        while self._runs or self._reporters:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            self._reporters.discard(pid)
            run_id = self._runs.pop(pid, None)
            if run_id is None:
                continue
            code = os.waitstatus_to_exitcode(status)
            self._stale = self._stale or code == warm_run.STALE
            if code not in (0, warm_run.STALE):
                why = f"signal {-code}" if code < 0 else f"exit code {code}"
                logger.warning("The process of run %s ended by %s", run_id, why)
                self._reporters.add(self._fork(lambda r=run_id, w=why: warm_run.report_death(r, w)))  # type: ignore[misc]

    def _load_again(self) -> None:
        self._stale = False
        try:
            self.load()
        except (PlatformError, OSError) as error:
            logger.warning("The newest definitions could not be loaded; keeping the old: %s", error)

    def _stop(self, _signal: int, _frame: FrameType | None) -> None:
        self._stopping = True

    def _stop_children(self) -> None:
        """Runs are interrupted and hand their requests back."""
        for pid in self._runs:
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_SECONDS
        while (self._runs or self._reporters) and time.monotonic() < deadline:
            self._reap()
            time.sleep(0.05)


def _ignore(_signal: int, _frame: FrameType | None) -> None:
    """SIGCHLD only has to wake the loop."""


def main() -> None:
    """Until SIGTERM. Raises Misconfigured when no socket is set."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    settings = Settings()
    if settings.runner_socket is None:
        raise Misconfigured(
            "HUBBLEWAVE_RUNNER_SOCKET is not set: give the runner and the Dagster daemon one path."
        )
    for name in _PRELOADED:
        importlib.import_module(name)
    runner = Runner(settings, settings.runner_socket)
    runner.load()
    runner.serve()

"""Starts runs by asking the warm runner to fork; without it, a new interpreter per run.

Also tells Dagster which runs are dead, which its own launcher cannot: a run's process holds an
advisory lock, and PostgreSQL drops the lock when the process dies, wherever it ran.
"""

import json
import socket
import time
from functools import cached_property
from pathlib import Path
from typing import Any

from dagster import DagsterRun, DefaultRunLauncher
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from psycopg import OperationalError

from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage import work
from hubblewave_pipelines.storage.database import Database, Role, Transaction

LAUNCHER_TAG = "hubblewave/launcher"
WARM, COLD = "warm", "cold"
START_GRACE_SECONDS = 15.0
_ANSWER_SECONDS = 5.0


class WarmRunLauncher(DefaultRunLauncher):
    """Named in dagster.yaml; HUBBLEWAVE_WARM_LAUNCHER and HUBBLEWAVE_RUNNER_SOCKET steer it."""

    @cached_property
    def _settings(self) -> Settings:
        return Settings()

    @property
    def _socket(self) -> Path | None:
        return self._settings.runner_socket if self._settings.warm_launcher else None

    def launch_run(self, context: LaunchRunContext) -> None:
        run = context.dagster_run
        path = self._socket
        reason = "it is switched off" if path is None else self._launch_warm(path, run)
        if reason is None:
            return
        if path is not None:
            self._instance.report_engine_event(
                f"Starting a new interpreter for this run: the warm runner cannot take it, {reason}.",
                run,
                cls=self.__class__,
            )
        self._instance.add_run_tags(run.run_id, {LAUNCHER_TAG: COLD})
        super().launch_run(context)

    def _launch_warm(self, path: Path, run: DagsterRun) -> str | None:
        """None when the runner took the run, else why not."""
        self._instance.add_run_tags(run.run_id, {LAUNCHER_TAG: WARM})
        try:
            answer = ask_runner(path, {"launch": run.run_id})
        except OSError as error:
            return f"it does not answer at {path} ({error})"
        refused = answer.get("refused")
        return None if refused is None else str(refused)

    def terminate(self, run_id: str) -> bool:
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        path = self._socket
        if path is None or run.tags.get(LAUNCHER_TAG) != WARM:
            return bool(super().terminate(run_id))  # type: ignore[no-untyped-call]
        self._instance.report_run_canceling(run)
        try:
            return bool(ask_runner(path, {"terminate": run_id}).get("signalled"))
        except OSError as error:
            self._instance.report_engine_event(
                f"The warm runner does not answer at {path} ({error}); run monitoring will end "
                "this run.",
                run,
                cls=self.__class__,
            )
            return False

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """FAILED when the process that executes `run` is gone."""
        database = Database(self._settings.require_database_url(), Role.WORKER)
        try:
            with database.connect() as connection:
                tx = Transaction(connection)
                held = tx.one(work.is_held(run.run_id))
                abandoned = tx.one(work.is_abandoned(run.run_id))
        except OperationalError as error:
            return CheckRunHealthResult(
                WorkerStatus.RUNNING, f"Unknown: the platform's database does not answer ({error})."
            )
        if held:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        if run.tags.get(LAUNCHER_TAG) == WARM:
            abandoned = self._seconds_since_start(run) > START_GRACE_SECONDS
        if abandoned:
            return CheckRunHealthResult(
                WorkerStatus.FAILED, "The process of this run is gone: nobody holds its lease."
            )
        return CheckRunHealthResult(WorkerStatus.RUNNING)

    def _seconds_since_start(self, run: DagsterRun) -> float:
        record = self._instance.get_run_record_by_id(run.run_id)
        if record is None or record.start_time is None:
            return 0.0
        return time.time() - record.start_time


def ask_runner(path: Path, question: dict[str, Any]) -> dict[str, Any]:
    """One question to the warm runner over its socket. Raises OSError when it does not answer."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(_ANSWER_SECONDS)
        client.connect(str(path))
        client.sendall(json.dumps(question).encode() + b"\n")
        with client.makefile("rb") as answers:
            line = answers.readline()
    if not line:
        raise ConnectionResetError("the runner closed the connection")
    answer: dict[str, Any] = json.loads(line)
    return answer

"""The warm runner and its launcher on a real Dagster instance, with real kill -9."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.launcher import LaunchRunContext, WorkerStatus

from hubblewave_pipelines.definitions import entities, launcher
from hubblewave_pipelines.definitions.defs_state import PgDefsStateStorage
from hubblewave_pipelines.definitions.launcher import LAUNCHER_TAG, WarmRunLauncher, ask_runner
from hubblewave_pipelines.definitions.requested import run_tags
from hubblewave_pipelines.definitions.sensors import settle
from hubblewave_pipelines.storage import work
from hubblewave_pipelines.storage.database import Database
from hubblewave_pipelines.storage.lease import Lease
from hubblewave_pipelines.storage.work import WorkRequest
from tests.definitions.conftest import Home
from tests.definitions.scripted import GRAPH

Ask = Callable[..., WorkRequest]
Read = Callable[[WorkRequest], WorkRequest]
LOCATION = "hubblewave_pipelines.definitions.location"


def eventually(true: Callable[[], object], what: str, seconds: float = 60) -> None:
    """Wait for something that another process brings about."""
    pause = threading.Event()
    for _ in range(int(seconds / 0.05)):
        if true():
            return
        pause.wait(0.05)
    pytest.fail(f"not within {seconds} s: {what}")


@pytest.fixture
def socket_path() -> Iterator[Path]:
    """Short: a socket's path may have about 100 bytes."""
    with tempfile.TemporaryDirectory(prefix="hw") as directory:
        yield Path(directory) / "r.sock"


@pytest.fixture
def runner(
    home: Home, socket_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[subprocess.Popen[bytes]]:
    monkeypatch.setenv("HUBBLEWAVE_RUNNER_SOCKET", str(socket_path))
    environment = {
        **home.environment,
        "HUBBLEWAVE_RUNNER_SOCKET": str(socket_path),
        "HUBBLEWAVE_RUN_SLOTS": "2",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "hubblewave_pipelines.definitions.runner"], env=environment
    )
    eventually(lambda: socket_path.exists() or process.poll() is not None, "the runner listens")
    assert process.poll() is None
    yield process
    process.terminate()
    process.wait(30)


@pytest.fixture
def instance(home: Home) -> Iterator[DagsterInstance]:
    with home.instance() as opened:
        yield opened


def launch(instance: DagsterInstance, request: WorkRequest | None, job: str) -> DagsterRun:
    """A run of `job`, given to the launcher as the daemon does."""
    repository = ReconstructableRepository.for_module(LOCATION, "defs")
    recon = repository.get_reconstructable_job(job)
    run = instance.create_run_for_job(
        recon.get_definition(),
        tags=run_tags(request) if request else {},
        status=DagsterRunStatus.NOT_STARTED,
        job_code_origin=recon.get_python_origin(),
    )
    instance.run_launcher.launch_run(LaunchRunContext(run, workspace=None))
    return run


def status(instance: DagsterInstance, run: DagsterRun) -> DagsterRunStatus:
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found.status


def pids(socket_path: Path) -> list[str]:
    return list(ask_runner(socket_path, {})["runs"])


class Blocked:
    """A request whose claim must wait, so that its run stays alive as long as we like."""

    def __init__(self, owner: Database, request: WorkRequest) -> None:
        self._connection = owner.connect(autocommit=False)
        self._connection.execute(
            "select from hubblewave.work_requests where id = %s for update", (request.id,)
        )

    def release(self) -> None:
        self._connection.close()


@pytest.fixture
def blocked(owner_database: Database, ask: Ask) -> Iterator[tuple[WorkRequest, Blocked]]:
    request = ask()
    block = Blocked(owner_database, request)
    yield request, block
    block.release()


def test_a_run_is_executed_by_a_fork_and_ends_well(
    instance: DagsterInstance, runner: subprocess.Popen[bytes]
) -> None:
    run = launch(instance, None, "event_retention")
    eventually(lambda: status(instance, run) is DagsterRunStatus.SUCCESS, "the run succeeds")
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    assert found.tags[LAUNCHER_TAG] == "warm"


def test_the_runner_has_one_thread_and_no_connection(
    home: Home, runner: subprocess.Popen[bytes]
) -> None:
    """A fork would share both."""
    tasks = list(Path(f"/proc/{runner.pid}/task").iterdir())
    assert len(tasks) == 1
    inodes = {
        os.readlink(link)
        for link in Path(f"/proc/{runner.pid}/fd").iterdir()
        if os.readlink(link).startswith("socket:")
    }
    assert len(inodes) == 1, "only the socket it listens on"


def test_a_killed_run_fails_and_its_request_comes_due_again(
    instance: DagsterInstance,
    runner: subprocess.Popen[bytes],
    socket_path: Path,
    blocked: tuple[WorkRequest, Blocked],
    worker_database: Database,
    state_of_request: Read,
) -> None:
    request, block = blocked
    run = launch(instance, request, "import_adhoc")
    eventually(lambda: held(worker_database, run.run_id), "the run holds its lease")
    eventually(lambda: status(instance, run) is DagsterRunStatus.STARTED, "the run starts")
    os.kill(ask_runner(socket_path, {"launch": run.run_id})["pid"], signal.SIGKILL)
    eventually(lambda: status(instance, run) is DagsterRunStatus.FAILURE, "the run fails")
    assert not held(worker_database, run.run_id)
    block.release()
    with worker_database.transaction() as tx:
        tx.run(work.submitted(request.id, run.run_id))
        [found] = tx.all(work.open_requests(10))
    assert settle(worker_database, found, status(instance, run))
    assert state_of_request(request).state == "requested"


def held(database: Database, run_id: str) -> bool:
    with database.transaction() as tx:
        return bool(tx.one(work.is_held(run_id)))


def test_a_run_whose_machine_died_is_found_dead_by_its_lease(
    instance: DagsterInstance,
    home: Home,
    worker_database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither the runner nor the code server is there to say so."""
    monkeypatch.setattr(launcher, "START_GRACE_SECONDS", -1.0)
    run = instance.create_run_for_job(
        entities.definitions_of({"tenants": []}, None).get_repository_def().get_job("import_adhoc"),
        status=DagsterRunStatus.STARTED,
        tags={LAUNCHER_TAG: "warm"},
    )
    checker = instance.run_launcher
    assert isinstance(checker, WarmRunLauncher)
    with Lease(worker_database, run.run_id):
        assert checker.check_run_worker_health(run).status is WorkerStatus.RUNNING
    assert checker.check_run_worker_health(run).status is WorkerStatus.FAILED


def test_a_run_started_the_cold_way_is_dead_when_its_claim_is_abandoned(
    instance: DagsterInstance, home: Home, worker_database: Database, ask: Ask
) -> None:
    run = instance.create_run_for_job(
        entities.definitions_of({"tenants": []}, None).get_repository_def().get_job("import_adhoc"),
        status=DagsterRunStatus.STARTED,
        tags={LAUNCHER_TAG: "cold"},
    )
    checker = instance.run_launcher
    assert checker.check_run_worker_health(run).status is WorkerStatus.RUNNING
    with worker_database.transaction() as tx:
        tx.one(work.claim(ask().id, run.run_id))
    assert checker.check_run_worker_health(run).status is WorkerStatus.FAILED


def test_a_database_that_does_not_answer_kills_no_run(
    instance: DagsterInstance, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = instance.create_run_for_job(
        entities.definitions_of({"tenants": []}, None).get_repository_def().get_job("import_adhoc")
    )
    monkeypatch.setenv("HUBBLEWAVE_DATABASE_URL", "postgresql://hubblewave@127.0.0.1:1/none")
    checked = WarmRunLauncher().check_run_worker_health(run)
    assert checked.status is WorkerStatus.RUNNING


def test_a_terminated_run_is_cancelled_and_so_is_its_request(
    instance: DagsterInstance,
    runner: subprocess.Popen[bytes],
    blocked: tuple[WorkRequest, Blocked],
    state_of_request: Read,
) -> None:
    request, block = blocked
    run = launch(instance, request, "import_adhoc")
    eventually(lambda: status(instance, run) is DagsterRunStatus.STARTED, "the run starts")
    assert instance.run_launcher.terminate(run.run_id)
    block.release()
    eventually(lambda: status(instance, run) is DagsterRunStatus.CANCELED, "the run is cancelled")
    assert state_of_request(request).state in ("cancelled", "requested")


def test_more_runs_than_slots_are_refused_and_no_slot_is_lost(
    instance: DagsterInstance,
    runner: subprocess.Popen[bytes],
    socket_path: Path,
    owner_database: Database,
    ask: Ask,
) -> None:
    requests = [ask(), ask()]
    blocks = [Blocked(owner_database, request) for request in requests]
    runs = [launch(instance, request, "import_adhoc") for request in requests]
    assert "slots are taken" in ask_runner(socket_path, {"launch": "one-more"})["refused"]
    for block in blocks:
        block.release()
    eventually(lambda: pids(socket_path) == [], "the slots are free")
    assert all(status(instance, run).value in ("SUCCESS", "FAILURE") for run in runs)


def test_one_run_is_not_executed_twice(
    instance: DagsterInstance,
    runner: subprocess.Popen[bytes],
    socket_path: Path,
    blocked: tuple[WorkRequest, Blocked],
) -> None:
    request, block = blocked
    run = launch(instance, request, "import_adhoc")
    first = ask_runner(socket_path, {"launch": run.run_id})["pid"]
    assert ask_runner(socket_path, {"launch": run.run_id})["pid"] == first
    block.release()
    eventually(lambda: pids(socket_path) == [], "the run ends")


def test_a_runner_that_stops_interrupts_its_runs_and_asks_again(
    instance: DagsterInstance,
    runner: subprocess.Popen[bytes],
    blocked: tuple[WorkRequest, Blocked],
    worker_database: Database,
) -> None:
    request, block = blocked
    run = launch(instance, request, "import_adhoc")
    eventually(lambda: held(worker_database, run.run_id), "the run holds its lease")
    eventually(lambda: status(instance, run) is DagsterRunStatus.STARTED, "the run starts")
    runner.terminate()
    block.release()
    runner.wait(30)
    assert not held(worker_database, run.run_id)
    assert status(instance, run) is not DagsterRunStatus.STARTED


def test_questions_that_make_no_sense_do_not_stop_the_runner(
    instance: DagsterInstance, runner: subprocess.Popen[bytes], socket_path: Path
) -> None:
    for nonsense in (b"\xff\xfe\n", b"[]\n", b"", b"{\n"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(str(socket_path))
            client.sendall(nonsense)
    assert pids(socket_path) == []


def test_new_definitions_are_loaded_when_told(
    home: Home,
    database_url: str,
    instance: DagsterInstance,
    runner: subprocess.Popen[bytes],
    socket_path: Path,
) -> None:
    PgDefsStateStorage(database_url).store(entities.STATE_KEY, "v1", entities.state_of(GRAPH))
    before = ask_runner(socket_path, {})["definitions"]
    ask_runner(socket_path, {"reload": True})
    eventually(
        lambda: ask_runner(socket_path, {})["definitions"] == "v1" != before, "the runner reloads"
    )
    run = launch(instance, None, "event_retention")
    eventually(lambda: status(instance, run) is DagsterRunStatus.SUCCESS, "a run still succeeds")

"""`hubblewave up` with all its real processes: started, stopped, killed, refused."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.plugins.stack import Up, eventually

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("stack")]
CHILDREN = ("uvicorn", "code-server", "runner", "dagster_webserver", "dagster._daemon", "graph")


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    up = Up(tmp_path_factory.mktemp("up") / "data")
    up.start()
    up.wait_ready()
    yield up
    up.stop()


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "hubblewave_pipelines", *arguments]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)


def test_the_ready_file_tells_where_everything_answers(platform: Up) -> None:
    ready = platform.ready
    assert set(ready) == {
        "api_url",
        "graphql_url",
        "dagster_url",
        "database_url",
        "tenant",
        "api_key",
        "pid",
    }
    assert ready["pid"] == platform.process.pid
    assert ready["tenant"] == "default"
    assert ready["api_key"].startswith("hw_live_")
    assert stat.S_IMODE(platform.ready_file.stat().st_mode) == 0o600
    assert platform.get("/health/ready")[0] == 200
    assert platform.get("/api/v1/entities")[0] == 200
    assert platform.get("/api/v1/entities", key="hw_live_no")[0] == 401
    with psycopg.connect(ready["database_url"]) as connection:
        assert connection.execute("select count(*) from hubblewave.tenants").fetchone() == (1,)


def test_every_child_runs_and_logs_to_a_file_of_its_own(platform: Up) -> None:
    for name in CHILDREN:
        assert platform.pids(name), f"{name} does not run"
    logs = {path.name for path in (platform.data_dir / "logs").iterdir()}
    assert {"up.log", "postgres.log", "daemon.log"} <= logs
    assert "postgres | " in platform.log.read_text()


def test_a_second_up_on_the_directory_is_refused(platform: Up) -> None:
    second = command("up", "--data-dir", str(platform.data_dir), "--api-port", "0")
    assert second.returncode == 1
    assert "already running" in second.stderr
    assert str(platform.process.pid) in second.stderr
    assert platform.get("/health/ready")[0] == 200


def test_commands_find_the_running_platform(platform: Up) -> None:
    at = ("--data-dir", str(platform.data_dir))
    checked = command("check", "--json", *at)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert {finding["state"] for finding in json.loads(checked.stdout)} <= {"ok", "skipped"}
    made = command("keys", "create", "--scope", "read", "--expires", "1d", *at)
    key = json.loads(made.stdout)
    assert platform.get("/api/v1/entities", key=key["api_key"])[0] == 200
    revoked = command("keys", "revoke", key["key"]["id"], "--json", *at)
    assert json.loads(revoked.stdout)[0]["revoked_at"] is not None
    assert platform.get("/api/v1/entities", key=key["api_key"])[0] == 401


@pytest.mark.parametrize("name", ["uvicorn", "runner"])
def test_a_killed_child_runs_again_and_the_log_says_so(platform: Up, name: str) -> None:
    killed = platform.kill(name)
    assert killed
    eventually(lambda: bool(set(platform.pids(name)) - set(killed)), f"{name} runs again")
    eventually(lambda: platform.get("/health/ready")[0] == 200, "the API is ready again")
    assert "was ended by SIGKILL; starting it again in 0.5 s" in platform.log.read_text()


def test_a_code_server_without_its_inner_process_is_restarted(platform: Up) -> None:
    follows = "The graph follows the entity definitions"  # the reload that this takes is over
    eventually(lambda: follows in platform.log.read_text(), "the graph is loaded")
    outer = platform.pids("code-server", "start")
    assert platform.kill("api", "grpc", "--heartbeat")
    eventually(lambda: bool(set(platform.pids("code-server")) - set(outer)), "a new code server")
    assert "code runs but does not answer" in platform.log.read_text()


def test_killed_postgres_comes_back_and_the_api_recovers(platform: Up) -> None:
    lines = (platform.data_dir / "postgres" / "data" / "postmaster.pid").read_text().splitlines()
    os.kill(int(lines[0]), signal.SIGKILL)
    eventually(lambda: platform.get("/api/v1/entities")[0] == 200, "the API answers from the table")
    assert "postgres was ended by SIGKILL" in platform.log.read_text()


def test_a_taken_port_is_named_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = command("up", "--data-dir", str(tmp_path / "d"), "--api-port", str(port))
    assert refused.returncode == 1
    assert f"Port {port} on 127.0.0.1 is taken" in refused.stderr
    assert "HUBBLEWAVE_API_PORT" in refused.stderr
    assert not (tmp_path / "d" / "postgres").exists()


def test_data_survive_kills_and_nothing_is_left_running(tmp_path: Path) -> None:
    """One platform through its whole life, because each start takes seconds of every core."""
    up = Up(tmp_path / "data")
    up.start()
    first = up.wait_ready()
    with psycopg.connect(first["database_url"], autocommit=True) as connection:
        connection.execute("create table public.kept as select generate_series(1, 1000) as n")

    up.process.kill()  # the supervisor alone: nobody else may outlive it
    up.process.wait()
    eventually(lambda: up.processes() == [], "no orphan is left", seconds=30)

    up.start()
    again = up.wait_ready()
    assert again["api_key"] is None
    up.kill_everything()
    eventually(lambda: up.processes() == [], "everything is dead", seconds=10)

    up.start()
    third = up.wait_ready()
    with psycopg.connect(third["database_url"]) as connection:
        assert connection.execute("select count(*) from public.kept").fetchone() == (1000,)
    assert up.get("/api/v1/entities")[0] == 200, "the first start's key still works"
    assert up.stop() == 0
    assert up.processes() == []
    assert not up.ready_file.exists()
    assert "up       | stopped" in up.tail()
    refused = command("tenants", "list", "--data-dir", str(up.data_dir))
    assert refused.returncode == 1
    assert "No platform is running" in refused.stderr

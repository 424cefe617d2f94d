"""The kill matrix: whatever is killed while an import is asked for, queued or at work, the work is
done exactly once. On the real processes of `hubblewave up`, with real imports and SIGKILL.

Each test imports a file of its own into one entity and then counts: the table holds the file's rows
once, the ledger adds up to them, and the job and its request tell the truth.
"""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import psycopg
import pytest

from hubblewave_pipelines.definitions.launcher import ask_runner
from tests.plugins.stack import Up, eventually

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("stack"), pytest.mark.timeout(600)]

LONG, SHORT = 300_000, 200
RUNNER, WEBSERVER, DAEMON = "definitions.runner", "dagster_webserver", "dagster._daemon"
CODE, INNER, API = "code-server", "api\0grpc", "uvicorn"
THING = {
    "name": "Thing",
    "pluralName": "Things",
    "fields": [
        {"name": "code", "type": "text", "required": True, "unique": True},
        {"name": "file", "type": "text", "required": True},
        {"name": "size", "type": "integer"},
    ],
}
MAPPING = [{"sourceField": name, "targetField": name} for name in ("code", "file", "size")]


class Rig:
    """A platform with one entity, its clients, and what the tests count."""

    def __init__(self, up: Up, runner: Path) -> None:
        self.up = up
        self._runner = runner
        self._names = iter(f"f{n}" for n in range(1000))

    def client(self) -> httpx.Client:
        return httpx.Client(
            base_url=self.up.ready["api_url"], headers={"X-API-Key": self.up.api_key}, timeout=60
        )

    def sql(self, query: str, *params: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.up.ready["database_url"], connect_timeout=5) as connection:
            return connection.execute(query, params).fetchall()  # type: ignore[arg-type]

    def file(self, rows: int) -> tuple[str, bytes]:
        name = next(self._names)
        lines = (f"{name}-{row},{name},{row}\n" for row in range(rows))
        return name, ("code,file,size\n" + "".join(lines)).encode()

    def ask(self, rows: int) -> tuple[str, str]:
        """POST a file; its name and the import's id."""
        name, content = self.file(rows)
        with self.client() as client:
            answer = client.post(
                "/api/v1/imports",
                data={"entity": "Thing", "mapping": json.dumps(MAPPING)},
                files={"file": (f"{name}.csv", content, "text/csv")},
            )
        assert answer.status_code == 202, answer.text
        return name, answer.json()["id"]

    def state(self, import_id: str) -> tuple[str, str]:
        """Status of the job and state of its request, or blanks while the database is away."""
        try:
            [(status, state)] = self.sql(
                "select j.status, w.state from hubblewave.import_jobs j"
                " join hubblewave.work_requests w on w.ref_id = j.id where j.id = %s",
                import_id,
            )
        except psycopg.OperationalError:
            return "", ""
        return status, state

    def at_work(self, import_id: str) -> None:
        """Wait until the first chunk is committed, while the rest is still to come."""
        eventually(
            lambda: bool(
                self.sql("select from hubblewave.import_chunks where import_id = %s", import_id)
            ),
            "the first chunk is committed",
            seconds=120,
        )

    def runner_answers(self) -> bool:
        """A run started before that has an interpreter of its own."""
        try:
            return bool(ask_runner(self._runner, {}))
        except OSError:
            return False

    def run_processes(self) -> list[int]:
        """The children of the runner: one for each run."""
        runners = self.up.pids(RUNNER)  # read once: a run is over soon
        return [pid for pid in runners if _parent(Path(f"/proc/{pid}/stat")) in runners]

    def kill_runs(self) -> list[int]:
        """Who was killed."""
        killed = []
        for pid in self.run_processes():
            with suppress(ProcessLookupError):  # it ended by itself meanwhile
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
        return killed

    def assets(self) -> list[str]:
        """What the Dagster UI shows."""
        answer = httpx.post(
            f"{self.up.ready['dagster_url']}/graphql",
            json={"query": "{ assetNodes { assetKey { path } } }"},
            timeout=30,
        ).json()
        return ["/".join(node["assetKey"]["path"]) for node in answer["data"]["assetNodes"]]

    def table(self) -> str:
        [(schema, entity)] = self.sql(
            "select t.schema_name, e.id from hubblewave.entities e"
            " join hubblewave.tenants t on t.id = e.tenant_id where e.name = 'Thing'"
        )
        return f"{schema}.e_{entity}"

    def columns(self) -> dict[str, str]:
        [(definition,)] = self.sql(
            "select definition from hubblewave.entities where name = 'Thing'"
        )
        return {field["name"]: f"c_{field['id']}" for field in definition["fields"]}

    def settled(self, import_id: str) -> None:
        """Wait until the import is over."""
        eventually(
            lambda: self.state(import_id)[1] in ("succeeded", "failed", "cancelled"),
            f"import {import_id} is over",
            seconds=240,
        )

    def done_exactly_once(self, name: str, import_id: str, rows: int) -> None:
        """Wait for the end, then count everything."""
        self.settled(import_id)
        assert self.state(import_id) == ("completed", "succeeded")
        column = self.columns()
        [(count, distinct, total)] = self.sql(
            f"select count(*), count(distinct {column['code']}), coalesce(sum({column['size']}), 0)"
            f" from {self.table()} where {column['file']} = %s",
            name,
        )
        assert (count, distinct, total) == (rows, rows, rows * (rows - 1) // 2)
        [job] = self.sql(
            "select total_records, created_records, failed_records, error"
            " from hubblewave.import_jobs where id = %s",
            import_id,
        )
        assert job == (rows, rows, 0, None)
        [(ledger,)] = self.sql(
            "select sum(rows) from hubblewave.import_chunks where import_id = %s", import_id
        )
        assert ledger == rows


def _parent(stat: Path) -> int:
    try:
        return int(stat.read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0  # it ended meanwhile


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A platform of this module's own: it is killed in every way."""
    with TemporaryDirectory(prefix="hw") as short:  # a socket's path may have about 100 bytes
        runner = Path(short) / "r.sock"
        settings = {
            "HUBBLEWAVE_IMPORT_CHUNK_ROWS": "20000",
            "HUBBLEWAVE_RUNNER_SOCKET": str(runner),
        }
        up = Up(tmp_path_factory.mktemp("kill") / "data", settings)
        up.start()
        up.wait_ready()
        rig = Rig(up, runner)
        with rig.client() as client:
            client.post("/api/v1/entities", json=THING).raise_for_status()
        yield rig
        up.stop()


@pytest.fixture
def rig(running: Rig) -> Rig:
    """The platform with everything answering again, and a run through it that works."""
    parts = (API, RUNNER, WEBSERVER, DAEMON, CODE)
    eventually(lambda: all(running.up.pids(part) for part in parts), "all parts run", seconds=120)
    eventually(running.runner_answers, "the warm runner takes runs", seconds=120)
    eventually(lambda: running.up.get("/health/ready")[0] == 200, "the API is ready", seconds=120)
    return running


def test_a_new_entity_appears_in_the_graph_without_a_restart(rig: Rig) -> None:
    servers = rig.up.pids(CODE), rig.up.pids(INNER), rig.up.pids(WEBSERVER)
    late = {"name": "Late", "pluralName": "Lates", "fields": [{"name": "x", "type": "text"}]}
    with rig.client() as client:
        client.post("/api/v1/entities", json=late).raise_for_status()
    shown = {f"{kind}/default/lates" for kind in ("import", "entity", "rejected")}
    eventually(lambda: shown <= set(rig.assets()), "the new assets are shown", seconds=60)
    assert servers == (rig.up.pids(CODE), rig.up.pids(INNER), rig.up.pids(WEBSERVER))


def test_api_killed_before_the_commit(rig: Rig) -> None:
    """Nothing happened, and asking again works."""
    before = rig.sql("select count(*) from hubblewave.import_jobs")

    def half_a_file() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="entity"\r\n\r\nThing\r\n'
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\ncode,'
        rig.up.kill(API)
        yield b"file,size\r\n--x--\r\n"

    with rig.client() as client, pytest.raises(httpx.TransportError):
        client.post(
            "/api/v1/imports",
            content=half_a_file(),
            headers={"Content-Type": "multipart/form-data; boundary=x"},
        )
    assert rig.sql("select count(*) from hubblewave.import_jobs") == before
    eventually(lambda: rig.up.get("/health/ready")[0] == 200, "the API is back", seconds=60)
    rig.done_exactly_once(*rig.ask(SHORT), SHORT)


def test_api_killed_after_the_commit_and_before_the_launch(rig: Rig) -> None:
    rig.up.kill(WEBSERVER)  # so that the launch cannot happen
    name, import_id = rig.ask(SHORT)
    rig.up.kill(API)
    rig.done_exactly_once(name, import_id, SHORT)


def test_webserver_killed_while_a_run_is_at_work(rig: Rig) -> None:
    name, import_id = rig.ask(LONG)
    rig.at_work(import_id)
    assert rig.up.kill(WEBSERVER)
    rig.done_exactly_once(name, import_id, LONG)


def test_daemon_killed_while_a_run_is_queued(rig: Rig) -> None:
    assert rig.up.kill(DAEMON)
    name, import_id = rig.ask(SHORT)
    rig.done_exactly_once(name, import_id, SHORT)


def test_run_killed_at_work(rig: Rig) -> None:
    name, import_id = rig.ask(LONG)
    rig.at_work(import_id)
    assert rig.kill_runs()
    rig.done_exactly_once(name, import_id, LONG)


def test_run_killed_again_and_again(rig: Rig) -> None:
    name, import_id = rig.ask(LONG)
    for _ in range(3):
        rig.at_work(import_id)
        eventually(
            lambda: bool(rig.run_processes()) or rig.state(import_id)[1] == "succeeded",
            "a run is at work",
            seconds=120,
        )
        rig.kill_runs()
    rig.done_exactly_once(name, import_id, LONG)


def test_inner_code_server_killed_while_a_run_is_at_work(rig: Rig) -> None:
    name, import_id = rig.ask(LONG)
    rig.at_work(import_id)
    assert rig.up.kill(INNER)
    rig.done_exactly_once(name, import_id, LONG)
    rig.done_exactly_once(*rig.ask(SHORT), SHORT)


def test_code_server_killed_when_a_run_is_dequeued(rig: Rig) -> None:
    assert rig.up.kill(CODE) + rig.up.kill(INNER)
    name, import_id = rig.ask(SHORT)
    rig.done_exactly_once(name, import_id, SHORT)


def test_everything_of_dagster_killed_at_once(rig: Rig) -> None:
    name, import_id = rig.ask(LONG)
    rig.at_work(import_id)
    for part in (RUNNER, CODE, INNER, DAEMON, WEBSERVER):
        rig.up.kill(part)
    rig.done_exactly_once(name, import_id, LONG)


def test_postgres_stopped_immediately_while_a_run_is_at_work(rig: Rig) -> None:
    name, import_id = rig.ask(LONG)
    rig.at_work(import_id)
    postmaster = int((rig.up.data_dir / "postgres/data/postmaster.pid").read_text().split()[0])
    os.kill(postmaster, signal.SIGQUIT)
    rig.done_exactly_once(name, import_id, LONG)


def test_runner_killed_while_a_run_is_at_work(rig: Rig) -> None:
    """Its children are processes of their own and go on; the next run does not wait for it."""
    name, import_id = rig.ask(LONG)
    rig.at_work(import_id)
    children = rig.run_processes()
    for pid in rig.up.pids(RUNNER):
        if pid not in children:
            os.kill(pid, signal.SIGKILL)
    second, second_id = rig.ask(SHORT)
    rig.done_exactly_once(name, import_id, LONG)
    rig.done_exactly_once(second, second_id, SHORT)


def test_an_import_cancelled_while_queued_writes_nothing(rig: Rig) -> None:
    rig.up.kill(DAEMON)
    name, import_id = rig.ask(SHORT)
    with rig.client() as client:
        answer = client.post(f"/api/v1/imports/{import_id}/cancel")
    assert answer.is_success, answer.text
    rig.settled(import_id)
    assert rig.state(import_id) == ("cancelled", "cancelled")
    eventually(lambda: bool(rig.up.pids(DAEMON)), "the daemon is back", seconds=60)
    rig.done_exactly_once(*rig.ask(SHORT), SHORT)  # whatever was queued before has had its turn
    column = rig.columns()["file"]
    assert rig.sql(f"select count(*) from {rig.table()} where {column} = %s", name) == [(0,)]


def test_power_cut_while_a_run_is_at_work(rig: Rig) -> None:
    name, import_id = rig.ask(LONG)
    rig.at_work(import_id)
    rig.up.kill_everything()
    rig.up.start()
    rig.up.wait_ready()
    rig.done_exactly_once(name, import_id, LONG)

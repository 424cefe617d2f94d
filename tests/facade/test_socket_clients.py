"""Other people's clients follow a tenant's records through killed servers and cut connections, while
others write: every committed change reaches each of them once, in the order of its record."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage.database import Database
from hubblewave_pipelines.storage.tenants import Tenant
from tests.facade.conftest import SECRET_KEY, free_port, make_key, serving
from tests.plugins import node
from tests.plugins.stack import eventually

NOTE = {"name": "Note", "pluralName": "Notes", "fields": [{"name": "text", "type": "text"}]}
WRITERS, NOTES, CHANGES = 3, 18, 3


class Killable:
    """An API process on a port of its own that is killed and started again."""

    def __init__(self, database_url: str, data_dir: Path) -> None:
        self.port = free_port()
        self._environment = {
            "HUBBLEWAVE_DATABASE_URL": database_url,
            "HUBBLEWAVE_DATA_DIR": str(data_dir),
            "HUBBLEWAVE_LOG_LEVEL": "ERROR",
            "HUBBLEWAVE_SECRET_KEY": SECRET_KEY,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        arguments = ["-m", "uvicorn", "api.app:create_app", "--factory", "--port", str(self.port)]
        self._process = subprocess.Popen(
            [sys.executable, *arguments, "--no-access-log", "--log-level", "warning"],
            env=self._environment,
            cwd=Path(__file__).parents[2],
        )
        eventually(self._answers, "the server that is killed answers")

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait()


@contextmanager
def following(port: int, key: str, since: str, heard: list[dict[str, Any]]) -> Iterator[None]:
    """The clients, with what they print put into `heard`."""
    url = f"ws://127.0.0.1:{port}/graphql"
    started = subprocess.Popen(
        node.command("subscribe.mjs", url, key, since),
        cwd=node.CLIENTS,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert started.stdout is not None
    assert started.stdin is not None
    lines = started.stdout
    reader = threading.Thread(target=lambda: heard.extend(map(json.loads, lines)), daemon=True)
    reader.start()
    yield
    started.stdin.close()
    assert started.wait(30) == 0
    reader.join(30)


def test_clients_resume_without_a_lost_or_doubled_event(
    api_settings: Settings, owner_database: Database, tenant: Tenant, data_dir: Path
) -> None:
    key = make_key(owner_database, tenant)
    killable = Killable(owner_database.url, data_dir)
    heard: list[dict[str, Any]] = []
    written: list[list[str]] = [[] for _ in range(WRITERS)]
    with serving(api_settings) as url, httpx.Client(headers={"X-API-Key": key}) as client:
        client.post(f"{url}/api/v1/entities", json=NOTE).raise_for_status()
        since = client.get(f"{url}/api/v1/notes/changes?since=now").json()["next"]

        def write(number: int) -> None:
            with httpx.Client(headers={"X-API-Key": key}, timeout=30) as own:
                for n in range(NOTES):
                    text = {"text": f"{number} {n}"}
                    made = own.post(f"{url}/api/v1/notes", json=text).raise_for_status().json()
                    for change in range(CHANGES):
                        changed = {"text": f"{number} {n} {change}"}
                        own.patch(
                            f"{url}/api/v1/notes/{made['id']}", json=changed
                        ).raise_for_status()
                    written[number].append(made["id"])

        killable.start()
        try:
            with following(killable.port, key, since, heard):
                writers = [threading.Thread(target=write, args=(n,)) for n in range(WRITERS)]
                for writer in writers:
                    writer.start()
                eventually(lambda: len(written[0]) > NOTES // 3, "records are written")
                killable.kill()  # while they write
                killable.start()
                for writer in writers:
                    writer.join(120)
                expected = 2 * WRITERS * NOTES * (1 + CHANGES)
                eventually(lambda: len(heard) >= expected, "every event has come")
        finally:
            killable.kill()
    for name in ("graphql-ws", "apollo"):
        told: dict[str, dict[str, list[Any]]] = {
            "created": defaultdict(list),
            "updated": defaultdict(list),
        }
        for event in heard:
            if event["client"] == name:
                told[event["kind"]][event["id"]].append((event["version"], event["text"]))
        ids = {record for own in written for record in own}
        assert told["created"].keys() == told["updated"].keys() == ids
        for number, own in enumerate(written):
            for n, record in enumerate(own):
                assert told["created"][record] == [(1, f"{number} {n}")]
                assert told["updated"][record] == [
                    (change + 2, f"{number} {n} {change}") for change in range(CHANGES)
                ]
    cursors = [e["cursor"] for e in heard if e["client"] == "apollo"]
    assert len(set(cursors)) == len(cursors)

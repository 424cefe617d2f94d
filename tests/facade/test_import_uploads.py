"""Uploads that go wrong and imports that are stopped while they run, over HTTP."""

import errno
import json
import os
import socket
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import pytest

from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage.database import Database
from hubblewave_pipelines.storage.tenants import Tenant
from hubblewave_pipelines.transfer.imports import ImportOutcome, run_import

PART: dict[str, Any] = {
    "name": "Part",
    "pluralName": "Parts",
    "fields": [
        {"name": "code", "type": "text", "required": True, "unique": True},
        {"name": "stock", "type": "integer"},
    ],
}
LIMIT = 2_000_000


@pytest.fixture
def api_settings(api_settings: Settings) -> Settings:
    return api_settings.model_copy(update={"max_import_bytes": LIMIT, "import_chunk_rows": 10})


@pytest.fixture
def parts(admin: httpx.Client) -> httpx.Client:
    assert admin.post("/api/v1/entities", json=PART).status_code == 201
    return admin


def send(client: httpx.Client, content: str, **options: Any) -> httpx.Response:
    return client.post(
        "/api/v1/imports",
        files={"file": ("parts.csv", content.encode(), "text/csv")},
        data={"entity": "Part", "options": json.dumps(options)},
    )


def wait_until_empty(directory: Path) -> None:
    until = time.monotonic() + 20
    while list(directory.iterdir()):
        assert time.monotonic() < until, list(directory.iterdir())
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("size", "named"),
    [(LIMIT + 1, LIMIT), (20 * LIMIT, LIMIT + 1_000_000)],  # a whole body may have forms around it
    ids=["by-a-byte", "by-far"],
)
def test_a_file_over_the_limit_is_refused_with_the_limit_and_leaves_nothing(
    parts: httpx.Client, data_dir: Path, size: int, named: int
) -> None:
    response = send(parts, "code\n" + "x" * (size - 5))
    assert response.status_code == 413
    assert response.json()["code"] == "request.too_large"
    assert f"larger than {named} bytes" in response.json()["detail"]
    assert list(data_dir.glob("spool/*")) == []
    assert parts.get("/api/v1/imports").json()["items"] == []


def test_a_file_of_exactly_the_limit_is_taken(parts: httpx.Client) -> None:
    assert send(parts, "code\n" + "x" * (LIMIT - 5)).status_code == 202


def test_an_upload_whose_client_goes_away_leaves_nothing(
    parts: httpx.Client, data_dir: Path
) -> None:
    where = urlsplit(str(parts.base_url))
    head = (
        "POST /api/v1/imports HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n"
        f"X-API-Key: {parts.headers['X-API-Key']}\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
        '--b\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\ncode\nA\n'
    )
    with socket.create_connection((where.hostname, where.port)) as client:
        client.sendall(head.encode())
        until = time.monotonic() + 20
        while not (data_dir / "spool").is_dir() or not list((data_dir / "spool").iterdir()):
            assert time.monotonic() < until, "the upload did not begin"
            time.sleep(0.02)
    wait_until_empty(data_dir / "spool")
    assert parts.get("/api/v1/imports").json()["items"] == []
    assert send(parts, "code\nA\n").status_code == 202


def test_a_full_disk_is_said_and_nothing_is_left_on_it(
    parts: httpx.Client, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("api.uploads.os.fsync", full)
    refused = send(parts, "code\nA\n")
    monkeypatch.undo()
    assert (refused.status_code, refused.json()["code"]) == (503, "platform.unavailable")
    assert "disk" in refused.json()["detail"]
    assert list(data_dir.glob("spool/*")) == []
    assert send(parts, "code\nA\n").status_code == 202


class Running(threading.Thread):
    """A run of an import that waits before its third commit until `go` is set."""

    def __init__(self, database: Database, settings: Settings, tenant: Tenant, job: str) -> None:
        super().__init__(name="run")
        self.given = (database, settings, tenant.id, UUID(job))
        self.waiting, self.go = threading.Event(), threading.Event()
        self.commits = 0
        self.outcome: ImportOutcome | None = None

    def _before_commit(self) -> None:
        self.commits += 1

    def _after_chunk(self, _: object) -> None:
        if self.commits == 2 or not self.commits:
            self.waiting.set()
            assert self.go.wait(30)

    def run(self) -> None:
        self.outcome = run_import(
            *self.given, run_id="run", still_held=self._before_commit, progress=self._after_chunk
        )


@pytest.mark.parametrize(
    ("on_error", "kept"), [("continue", 30), ("abort", 0)], ids=["continue", "abort"]
)
def test_an_import_is_cancelled_while_it_runs_and_goes_on_when_retried(
    parts: httpx.Client,
    worker_database: Database,
    api_settings: Settings,
    tenant: Tenant,
    on_error: str,
    kept: int,
) -> None:
    lines = ["code,stock", *[f"c{n},{n}" for n in range(95)]]
    sent = send(parts, "\n".join(lines), onError=on_error)
    url, job = sent.headers["location"], sent.json()["id"]
    run = Running(worker_database, api_settings, tenant, job)
    run.start()
    assert run.waiting.wait(30)
    cancelled = parts.post(f"{url}/cancel")
    assert (cancelled.status_code, cancelled.json()["status"]) == (202, "processing")
    assert cancelled.json()["cancelRequested"] is True
    run.go.set()
    run.join()
    assert run.outcome is not None
    assert run.outcome.status == "cancelled"
    stopped = parts.get(url).json()
    assert (stopped["status"], stopped["totalRecords"]) == ("cancelled", kept)
    assert len(parts.get("/api/v1/parts?pageSize=100").json()["items"]) == kept
    assert parts.post(f"{url}/retry").status_code == 202
    again = Running(worker_database, api_settings, tenant, job)
    again.go.set()
    again.start()
    again.join()
    done = parts.get(url).json()
    assert (done["status"], done["createdRecords"]) == ("completed", 95)
    assert len(parts.get("/api/v1/parts?pageSize=100").json()["items"]) == 95

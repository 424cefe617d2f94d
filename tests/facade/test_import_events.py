"""The progress of an import as server-sent events: from waiting to its end, and cut off with its key."""

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import httpx
import pytest

from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage.database import Database
from hubblewave_pipelines.storage.tenants import Tenant
from hubblewave_pipelines.transfer.imports import ImportProgress, run_import

PART: dict[str, Any] = {
    "name": "Part",
    "pluralName": "Parts",
    "fields": [{"name": "code", "type": "text", "required": True}],
}
CONTENT = "code\n" + "".join(f"p{n}\n" for n in range(300))


@pytest.fixture
def uploaded(admin: httpx.Client) -> str:
    assert admin.post("/api/v1/entities", json=PART).status_code == 201
    sent = admin.post("/api/v1/imports", data={"entity": "Part"}, files={"file": CONTENT.encode()})
    assert sent.status_code == 202, sent.text
    return str(sent.json()["id"])


def events(response: httpx.Response) -> Iterator[tuple[str, dict[str, Any]]]:
    name = ""
    for line in response.iter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


def test_progress_is_told_from_waiting_to_the_end(
    admin: httpx.Client,
    uploaded: str,
    worker_database: Database,
    api_settings: Settings,
    tenant: Tenant,
) -> None:
    seen = threading.Semaphore(0)  # the reader has been told of another chunk

    def wait_for_reader(done: ImportProgress) -> None:
        assert seen.acquire(timeout=30), f"nobody was told of row {done.rows}"

    def work() -> None:
        run_import(
            worker_database,
            api_settings.model_copy(update={"import_chunk_rows": 100}),
            tenant.id,
            UUID(uploaded),
            run_id="run-1",
            still_held=lambda: None,
            progress=wait_for_reader,
        )

    worker = threading.Thread(target=work)
    rows: list[int] = []
    with admin.stream("GET", f"/api/v1/imports/{uploaded}/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        told = events(response)
        assert next(told)[1]["status"] == "pending"
        worker.start()
        for name, job in told:
            if name == "progress" and job["totalRecords"] > (rows[-1] if rows else 0):
                assert job["rowsPerSecond"] > 0
                assert job["secondsLeft"] >= 0
                rows.append(job["totalRecords"])
                seen.release()
        assert (name, job["totalRecords"], job["progress"]) == ("completed", 300, 100)
    worker.join()
    assert rows == [100, 200, 300]


def test_who_comes_late_is_told_the_end_and_let_go(admin: httpx.Client, uploaded: str) -> None:
    admin.post(f"/api/v1/imports/{uploaded}/cancel")
    with admin.stream("GET", f"/api/v1/imports/{uploaded}/events") as response:
        assert [name for name, _ in events(response)] == ["cancelled"]


def test_a_revoked_key_is_told_nothing_more(
    admin: httpx.Client,
    uploaded: str,
    connect: Callable[..., httpx.Client],
    key_for: Callable[..., str],
    tenant: Tenant,
) -> None:
    key = key_for(tenant, "read")
    with connect(key).stream("GET", f"/api/v1/imports/{uploaded}/events") as response:
        told = events(response)
        assert next(told)[0] == "progress"
        keys = admin.get("/api/v1/api-keys").json()["items"]
        [mine] = [each["id"] for each in keys if each["scopes"] == ["read"]]
        assert admin.delete(f"/api/v1/api-keys/{mine}").status_code == 204
        assert [name for name, _ in told] == ["error"]


def test_an_import_that_is_not_there_is_404(admin: httpx.Client, other_admin: httpx.Client) -> None:
    missing = "00000000-0000-0000-0000-000000000000"
    assert admin.get(f"/api/v1/imports/{missing}/events").status_code == 404
    assert admin.get("/api/v1/imports/none/events").status_code == 404


def test_an_import_of_another_tenant_is_404(other_admin: httpx.Client, uploaded: str) -> None:
    assert other_admin.get(f"/api/v1/imports/{uploaded}/events").status_code == 404

"""An upload sent again under its Idempotency-Key is the same import."""

import threading
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from hubblewave_pipelines.storage.database import Database, statement
from hubblewave_pipelines.storage.idempotency import hold_key
from hubblewave_pipelines.storage.tenants import Tenant

PART: dict[str, Any] = {
    "name": "Part",
    "pluralName": "Parts",
    "fields": [{"name": "code", "type": "text", "required": True, "unique": True}],
}


@pytest.fixture
def parts(admin: httpx.Client) -> httpx.Client:
    assert admin.post("/api/v1/entities", json=PART).status_code == 201
    return admin


def send(
    client: httpx.Client, content: str, key: str = "k1", name: str = "parts.csv", **fields: str
) -> httpx.Response:
    return client.post(
        "/api/v1/imports",
        files={"file": (name, content.encode(), "text/csv")},
        data={"entity": "Part", **fields},
        headers={"Idempotency-Key": key},
    )


def asked(owner: Database) -> int:
    with owner.transaction() as tx:
        return int(tx.all(statement("select count(*) from hubblewave.work_requests"))[0][0])


def test_the_same_upload_is_the_same_import(
    parts: httpx.Client, owner_database: Database, data_dir: Path
) -> None:
    first, again = send(parts, "code\nA\n"), send(parts, "code\nA\n")
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json() == first.json()
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["idempotency-replayed"] == "true"
    assert [job["id"] for job in parts.get("/api/v1/imports").json()["items"]] == [
        first.json()["id"]
    ]
    assert asked(owner_database) == 1
    assert len(list(data_dir.glob("spool/*"))) == 1
    other = send(parts, "code\nA\n", key="k2")
    assert other.json()["id"] != first.json()["id"]


@pytest.mark.parametrize(
    "changed",
    [{"content": "code\nB\n"}, {"options": '{"onError":"abort"}'}, {"name": "other.csv"}],
    ids=["content", "options", "name"],
)
def test_another_upload_under_a_used_key_is_refused(
    parts: httpx.Client, owner_database: Database, data_dir: Path, changed: dict[str, str]
) -> None:
    assert send(parts, "code\nA\n").status_code == 202
    refused = send(parts, **{"content": "code\nA\n", **changed})
    assert refused.status_code == 422
    assert refused.json()["code"] == "request.idempotency_mismatch"
    assert asked(owner_database) == 1
    assert len(list(data_dir.glob("spool/*"))) == 1


def test_an_upload_in_flight_is_not_begun_twice(
    parts: httpx.Client, owner_database: Database, tenant: Tenant, data_dir: Path
) -> None:
    with owner_database.transaction() as tx:
        assert tx.one(hold_key(tenant.id, "k1"))
        refused = send(parts, "code\nA\n")
    assert refused.status_code == 409
    assert int(refused.headers["retry-after"]) >= 1
    assert list(data_dir.glob("spool/*")) == []
    assert send(parts, "code\nA\n").status_code == 202


def test_a_refused_upload_may_be_corrected_under_its_key(parts: httpx.Client) -> None:
    assert send(parts, "wrong\nA\n").status_code == 422
    assert send(parts, "code\nA\n").status_code == 202
    assert send(parts, "code\nA\n", key="x" * 300).status_code == 400


def test_uploads_at_once_under_one_key_make_one_import(
    parts: httpx.Client, owner_database: Database, data_dir: Path
) -> None:
    answers: Counter[int] = Counter()
    threads = [
        threading.Thread(target=lambda: answers.update([send(parts, "code\nA\n").status_code]))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers.total() == 6
    assert set(answers) <= {202, 409}
    assert asked(owner_database) == 1
    assert len(list(data_dir.glob("spool/*"))) == 1

"""Taking an import back over HTTP: what is accepted, what is refused, and what is told of it."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import httpx
import pytest

from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage import work
from hubblewave_pipelines.storage.database import Database
from hubblewave_pipelines.storage.tenants import Tenant
from hubblewave_pipelines.transfer.imports import run_import
from hubblewave_pipelines.transfer.reverts import run_revert

PART: dict[str, Any] = {
    "name": "Part",
    "pluralName": "Parts",
    "fields": [
        {"name": "code", "type": "text", "required": True, "unique": True},
        {"name": "stock", "type": "integer"},
    ],
}


@pytest.fixture
def parts(admin: httpx.Client) -> httpx.Client:
    assert admin.post("/api/v1/entities", json=PART).status_code == 201
    return admin


def upload(client: httpx.Client) -> str:
    content = b"code,stock\na,1\nb,2\nc,3\n"
    sent = client.post("/api/v1/imports", data={"entity": "Part"}, files={"file": content})
    assert sent.status_code == 202, sent.text
    return str(sent.json()["id"])


@pytest.fixture
def run(worker_database: Database, api_settings: Settings, tenant: Tenant) -> Callable[[str], None]:
    """Does what the Dagster run does for one import."""

    def work_off(import_id: str) -> None:
        run_import(
            worker_database,
            api_settings,
            tenant.id,
            UUID(import_id),
            run_id="run-1",
            still_held=lambda: None,
            progress=lambda _: None,
        )

    return work_off


def test_an_import_is_taken_back_and_later_edits_are_listed(
    parts: httpx.Client,
    run: Callable[[str], None],
    worker_database: Database,
    tenant: Tenant,
) -> None:
    import_id = upload(parts)
    url = f"/api/v1/imports/{import_id}"
    refused = parts.post(f"{url}/revert")
    assert (refused.status_code, refused.json()["code"]) == (409, "resource.conflict")
    assert parts.get(f"{url}/revert").status_code == 404
    run(import_id)
    [edited] = parts.get("/api/v1/parts?filter[code]=b").json()["items"]
    assert parts.patch(f"/api/v1/parts/{edited['id']}", json={"stock": 20}).status_code == 200

    asked = parts.post(f"{url}/revert")
    assert (asked.status_code, asked.json()["status"]) == (202, "pending")
    assert asked.headers["location"] == f"{url}/revert"
    assert parts.post(f"{url}/revert").status_code == 409
    with worker_database.transaction(tenant.id) as tx:
        [request] = tx.all(work.requests_of(tenant.id, UUID(asked.json()["id"])))
    assert (request.kind, request.asset_key) == ("revert", ("revert", "default", "parts"))
    run_revert(worker_database, tenant.id, request.ref_id, run_id="run-2", still_held=lambda: None)

    done = parts.get(f"{url}/revert").json()
    counts = [done[f"{word}Records"] for word in ("removed", "restored", "kept")]
    assert (done["status"], counts) == ("partial", [2, 0, 1])
    kept = parts.get(f"{url}/kept").json()
    assert kept["items"] == [{"recordId": edited["id"], "reason": "edited"}]
    assert kept["pageInfo"]["totalItems"] == 1
    assert [part["code"] for part in parts.get("/api/v1/parts").json()["items"]] == ["b"]
    history = parts.get(f"/api/v1/parts/{edited['id']}/history").json()["items"]
    assert [event["version"] for event in history] == [2, 1], "what others wrote is as it was"
    assert parts.post(f"{url}/revert").status_code == 409


def test_what_was_taken_back_is_not_retried(
    parts: httpx.Client, run: Callable[[str], None]
) -> None:
    import_id = upload(parts)
    assert parts.post(f"/api/v1/imports/{import_id}/cancel").status_code == 202
    assert parts.post(f"/api/v1/imports/{import_id}/revert").status_code == 202
    assert parts.post(f"/api/v1/imports/{import_id}/retry").status_code == 409


def test_who_may_only_read_may_not_take_back(
    parts: httpx.Client,
    connect: Callable[..., httpx.Client],
    key_for: Callable[..., str],
    tenant: Tenant,
) -> None:
    reader = connect(key_for(tenant, "read"))
    import_id = upload(parts)
    assert reader.post(f"/api/v1/imports/{import_id}/revert").status_code == 403
    assert reader.get(f"/api/v1/imports/{import_id}/kept").status_code == 200


def test_a_tenant_at_its_limit_waits_for_a_run_to_take_its_import_along(
    parts: httpx.Client, worker_database: Database, tenant: Tenant, api_settings: Settings
) -> None:
    """Nothing is launched past the limit; the row waits, and is due like any other."""
    for number in range(api_settings.runs_per_tenant):
        import_id = upload(parts)
        with worker_database.transaction(tenant.id) as tx:
            [request] = tx.all(work.requests_of(tenant.id, UUID(import_id)))
            tx.run(work.submitted(request.id, f"run-{number}"))
    waiting = upload(parts)
    assert parts.get(f"/api/v1/imports/{waiting}").json()["status"] == "pending"
    with worker_database.transaction(tenant.id) as tx:
        assert str(tx.one(work.next_small_import(tenant.id, 1_000_000))) == str(
            tx.all(work.requests_of(tenant.id, UUID(waiting)))[0].id
        )

"""Watches of directories over HTTP: what they may look at, what they saw, and what became of it."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage.database import Database
from hubblewave_pipelines.storage.tenants import Tenant
from hubblewave_pipelines.transfer.watching import scan
from tests.facade.conftest import Connect, make_key, settings_for

WATCHES = "/api/v1/import-watches"
ITEM = {
    "name": "Item",
    "pluralName": "Items",
    "fields": [
        {"name": "code", "type": "text", "required": True, "unique": True},
        {"name": "stock", "type": "integer"},
    ],
}


@pytest.fixture
def inbox(data_dir: Path) -> Path:
    folder = data_dir / "in" / "default"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def api_settings(database_url: str, data_dir: Path) -> Settings:
    place = f"file://{data_dir}/in/{{tenant}}/"
    return settings_for(database_url, data_dir, file_locations=[place])


@pytest.fixture
def items(admin: httpx.Client) -> httpx.Client:
    assert admin.post("/api/v1/entities", json=ITEM).status_code == 201
    return admin


def test_what_arrives_becomes_an_import_as_the_watch_asks(
    items: httpx.Client,
    other_admin: httpx.Client,
    inbox: Path,
    api_settings: Settings,
    worker_database: Database,
) -> None:
    asked = {
        "entity": "items",
        "url": f"{inbox}/",
        "pattern": "*.csv",
        "mapping": [{"sourceField": "Code", "targetField": "code"}],
        "options": {
            "uniqueFields": ["code"],
            "transformations": [{"field": "code", "transform": "upper"}],
        },
    }
    made = items.post(WATCHES, json=asked)
    assert made.status_code == 201, made.text
    url = made.headers["location"]
    assert made.json() | {"id": None, "createdAt": None} == {
        **asked,
        "id": None,
        "entity": "Item",
        "url": f"file://{inbox}/",
        "lastScanAt": None,
        "lastError": None,
        "createdAt": None,
    }
    assert items.get(url).json() == {**made.json(), "files": []}
    (inbox / "a.csv").write_text("Code\nabc\n")
    (inbox / "b.csv").write_text("Kode\nabc\n")
    assert scan(worker_database, api_settings, unchanged=timedelta()) == 1
    found = items.get(url).json()
    files = {Path(file["path"]).name: file for file in found["files"]}
    assert found["lastScanAt"] is not None
    assert (files["b.csv"]["importId"], "Kode" in files["b.csv"]["error"]) == (None, True)
    job = items.get(f"/api/v1/imports/{files['a.csv']['importId']}").json()
    assert (job["fileName"], job["status"]) == ("a.csv", "pending")
    [mapped] = job["mapping"]
    assert (mapped["sourceField"], mapped["targetField"]) == ("Code", "code")
    assert "upper" in str(mapped["transform"])

    assert other_admin.get(url).status_code == 404
    assert other_admin.delete(url).status_code == 404
    assert other_admin.get(WATCHES).json()["items"] == []
    assert [one["id"] for one in items.get(WATCHES).json()["items"]] == [made.json()["id"]]
    assert items.delete(url).status_code == 204
    assert (items.get(url).status_code, items.delete(url).status_code) == (404, 404)
    assert items.get(f"{WATCHES}/nonsense").status_code == 404
    (inbox / "c.csv").write_text("Code\nx\n")
    assert scan(worker_database, api_settings, unchanged=timedelta()) == 0


def test_what_a_watch_may_not_be_is_said_at_once(
    items: httpx.Client, connect: Connect, owner_database: Database, tenant: Tenant, inbox: Path
) -> None:
    def faults(**body: Any) -> dict[str, str]:
        answer = items.post(WATCHES, json=body)
        assert answer.status_code == 422, answer.text
        return {fault["pointer"]: fault["detail"] for fault in answer.json()["errors"]}

    wrong = faults(
        entity="Itme", url="/etc/", pattern=7, mapping={}, options={"uniqe": 1}, extra=True
    )
    assert set(wrong) == {
        *("#/entity", "#/url", "#/pattern", "#/mapping", "#/options/uniqe", "#/extra")
    }
    assert "HUBBLEWAVE_FILE_LOCATIONS" in wrong["#/url"]
    assert set(faults()) == {"#/entity", "#/url"}
    (inbox / "out").symlink_to("/etc")
    for outside in (
        f"{inbox}/../other/",
        f"{inbox}/out/",
        "s3://bucket/in/",
        "a::b",
        "file://x@y/",
    ):
        assert set(faults(entity="Item", url=outside)) == {"#/url"}, outside
    assert items.post(WATCHES, json=[]).status_code == 400
    writer = connect(make_key(owner_database, tenant, "read", "write"))
    given = {"entity": "Item", "url": f"{inbox}/"}
    assert writer.post(WATCHES, json=given).status_code == 403
    assert writer.get(WATCHES).json()["items"] == []

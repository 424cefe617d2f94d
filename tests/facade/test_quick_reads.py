"""Reads in one round trip believe nothing from memory that the database does not confirm."""

from typing import Any

import httpx
import pytest

from hubblewave_pipelines.storage.database import Database
from hubblewave_pipelines.storage.ddl import define
from hubblewave_pipelines.storage.tenants import Tenant

PATH = "/api/v1/notes"
NOTE = {"name": "Note", "pluralName": "Notes", "fields": [{"name": "text", "type": "text"}]}


@pytest.fixture
def client(admin: httpx.Client, owner_database: Database, tenant: Tenant) -> httpx.Client:
    """A client whose key the process remembers."""
    define(owner_database, tenant, NOTE)
    assert admin.post(PATH, json={"text": "a"}).status_code == 201
    return admin


def test_a_remembered_key_needs_no_second_statement(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def long_way(*_: Any) -> None:
        raise AssertionError("the long way was taken")

    made = client.get(PATH).json()["items"][0]
    monkeypatch.setattr("api.reads.perform", long_way)
    assert client.get(PATH, params={"count": "exact"}).json()["pageInfo"]["totalItems"] == 1
    one = client.get(f"{PATH}/{made['id']}")
    assert one.json() == made
    same = client.get(f"{PATH}/{made['id']}", headers={"If-None-Match": one.headers["etag"]})
    assert same.status_code == 304
    absent = client.get(f"{PATH}/0190a9a0-0000-7000-8000-000000000000")
    assert absent.status_code == 404


def test_a_key_revoked_since_is_refused(
    client: httpx.Client, connect: Any, key_for: Any, tenant: Tenant
) -> None:
    key = key_for(tenant, "read")
    reader = connect(key)
    for _ in range(3):
        assert reader.get(PATH).status_code == 200
    assert client.delete(f"/api/v1/api-keys/{key.split('_')[2]}").status_code == 204
    assert reader.get(PATH).status_code == 401


def test_a_definition_changed_since_is_seen_at_once(client: httpx.Client) -> None:
    assert "colour" not in client.get(PATH).json()["items"][0]
    fields = [*NOTE["fields"], {"name": "colour", "type": "text"}]
    changed = client.put("/api/v1/entities/Note", json={**NOTE, "fields": fields})
    assert changed.status_code == 200, changed.text
    assert "colour" in client.get(PATH, params={"sort": "colour"}).json()["items"][0]


def test_an_entity_removed_since_is_not_found(client: httpx.Client) -> None:
    assert client.get(PATH).status_code == 200
    assert client.delete("/api/v1/entities/Note?force=true").status_code < 300
    assert client.get(PATH).status_code == 404

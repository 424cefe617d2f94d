"""Old versions go, what is left reads as ever, and who would need the rest is told so."""

from datetime import UTC, datetime
from typing import Any

import httpx
import psycopg
import pytest

from hubblewave_pipelines.storage import history_retention as retention
from hubblewave_pipelines.storage.database import Database
from hubblewave_pipelines.storage.history_retention import trim_history

NOTES = "/api/v1/notes"
FIELDS = [{"name": "text", "type": "text"}]


def note(client: httpx.Client, *texts: str) -> str:
    """A record with as many versions."""
    path = client.post(NOTES, json={"text": texts[0]}).headers["location"]
    for text in texts[1:]:
        assert client.patch(path, json={"text": text}).status_code == 200
    return str(path)


def test_what_retention_removes_is_told_and_nothing_else_changes(
    admin: httpx.Client,
    worker_database: Database,
    app_database: Database,
    owner_database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("Note", "Other"):
        body = {"name": name, "pluralName": f"{name}s", "fields": FIELDS}
        assert admin.post("/api/v1/entities", json=body).status_code == 201
    monkeypatch.setattr(retention, "_CHUNK", 2)
    before = datetime.now(UTC)
    kept, gone, back = note(admin, "a", "b", "c"), note(admin, "x", "y"), note(admin, "q")
    start = admin.get(f"{NOTES}/changes").json()["next"]
    between = datetime.now(UTC)
    for path in (gone, back):
        assert admin.delete(path).status_code == 204
    assert admin.post(f"{back}/restore", json={"version": 1}).status_code == 201
    after_deletions = admin.get(f"{NOTES}/changes", params={"since": start}).json()["next"]
    walking = admin.get(f"{NOTES}/changes", params={"limit": 1}).json()
    middle = datetime.now(UTC)
    assert admin.patch(kept, json={"text": "d"}).status_code == 200

    def asked(path: str, **params: Any) -> httpx.Response:
        return admin.get(path, params=params)

    def as_of(at: datetime) -> httpx.Response:
        return asked(NOTES, asOf=at.isoformat().replace("+00:00", "Z"), sort="text")

    was = as_of(middle).json()
    assert [item["text"] for item in was["items"]] == ["c", "q"]
    assert trim_history(worker_database, before) == 0
    assert as_of(between).status_code == 200
    assert trim_history(worker_database, middle) == 5  # a, b; x, y; q
    assert trim_history(worker_database, middle) == 0
    assert as_of(middle).json() == was
    for at in (before, between):
        refused = as_of(at)
        assert (refused.status_code, refused.json()["code"]) == (410, "request.expired")
    alone = asked(kept, asOf=between.isoformat().replace("+00:00", "Z"))
    assert alone.status_code == 410
    events = asked(f"{kept}/history").json()["items"]
    assert [event["version"] for event in events] == [4, 3]
    assert asked(f"{gone}/history").status_code == 404
    assert asked(NOTES, deleted="only").json()["items"] == []
    assert [n["text"] for n in asked(NOTES, sort="text").json()["items"]] == ["d", "q"]

    expired = asked(f"{NOTES}/changes", since=start)
    assert (expired.status_code, expired.json()["code"]) == (410, "request.expired")
    assert asked(f"{NOTES}/changes", since=start, wait=5).status_code == 410
    told = asked(f"{NOTES}/changes", since=after_deletions).json()["items"]
    assert [item["record"]["text"] for item in told] == ["d"]
    # Who set out from the beginning after the deletions never saw what was deleted.
    on = asked(f"{NOTES}/changes", since=walking["next"])
    assert [item["record"]["text"] for item in on.json()["items"]] == ["q", "d"]
    anew = asked(f"{NOTES}/changes").json()["items"]
    assert sorted(item["record"]["text"] for item in anew) == ["d", "q"]
    assert (
        asked("/api/v1/others", asOf=before.isoformat().replace("+00:00", "Z")).status_code == 200
    )

    with owner_database.transaction() as tx:
        entity = tx.connection.execute("select id from hubblewave.entities limit 1").fetchone()
    assert entity is not None
    with pytest.raises(psycopg.errors.InsufficientPrivilege), app_database.transaction() as tx:
        tx.connection.execute(
            "select hubblewave.trim_history(%s, now(), gen_random_uuid(), 0, 1)", entity
        )

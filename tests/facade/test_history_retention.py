"""Old versions go, what is left reads as ever, and who would need the rest is told so."""

import asyncio
import threading
from datetime import UTC, datetime
from typing import Any

import httpx
import psycopg
import pytest

from api.subscriptions.tail import Tail
from hubblewave_pipelines.storage import history_retention as retention
from hubblewave_pipelines.storage.database import Database
from hubblewave_pipelines.storage.history_retention import trim_history
from tests.plugins.socket_client import GraphqlSocket
from tests.plugins.stack import eventually

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


def trim(worker: Database, count: int) -> None:
    """Remove everything that ended; `count` versions, once no other transaction holds them."""
    left = count

    def gone() -> bool:
        nonlocal left
        left -= trim_history(worker, datetime.now(UTC))
        return left <= 0

    eventually(gone, f"{count} versions go")
    assert left == 0


def define_notes(admin: httpx.Client) -> None:
    body = {"name": "Note", "pluralName": "Notes", "fields": FIELDS}
    assert admin.post("/api/v1/entities", json=body).status_code == 201


def place_now(admin: httpx.Client) -> str:
    return str(admin.get(f"{NOTES}/changes", params={"since": "now"}).json()["next"])


def opened(admin: httpx.Client, **more: Any) -> GraphqlSocket:
    return GraphqlSocket(str(admin.base_url).rstrip("/"), admin.headers["x-api-key"], **more)


def follow(socket: GraphqlSocket, verb: str, since: str) -> None:
    shown = "" if verb == "Deleted" else " { version text }"
    query = f"subscription($s: String) {{ it: note{verb}(since: $s){shown} }}"
    payload = {"query": query, "variables": {"s": since}}
    socket.say({"type": "subscribe", "id": "n", "payload": payload})


def expired(message: dict[str, Any]) -> bool:
    """Whether it ends the subscription for good: there is no place to go on from."""
    if message["type"] != "error":
        return False
    [error] = message["payload"]
    assert error["extensions"]["code"] == "request.expired"
    assert "cursor" not in error["extensions"]
    assert "Read the list anew" in error["message"]
    return True


def test_a_subscription_resumes_only_where_nothing_is_missing_since(
    admin: httpx.Client, worker_database: Database, owner_database: Database
) -> None:
    define_notes(admin)
    path = note(admin, "a")
    start = place_now(admin)
    with opened(admin) as socket:
        follow(socket, "Updated", start)
        for text in "bcd":
            assert admin.patch(path, json={"text": text}).status_code == 200
        cursors = [socket.hear()["payload"]["extensions"]["cursor"] for _ in "bcd"]

    with owner_database.connect(autocommit=False) as held:
        held.execute("select pg_current_xact_id()")
        assert admin.patch(path, json={"text": "e"}).status_code == 200
        # Nobody could be told of the last change yet, so what was before it stays.
        trim(worker_database, 3)
        held.rollback()
    with opened(admin) as socket:
        for verb in ("Created", "Updated", "Deleted"):
            for cursor in (start, *cursors[:2]):
                follow(socket, verb, cursor)
                assert expired(socket.hear())
        follow(socket, "Updated", cursors[2])
        assert socket.hear()["payload"]["data"] == {"it": {"version": 5, "text": "e"}}
        assert admin.patch(path, json={"text": "f"}).status_code == 200
        event = socket.hear()["payload"]
        assert event["data"] == {"it": {"version": 6, "text": "f"}}
        # It has been told everything: what is removed behind it is not missing to it.
        trim(worker_database, 2)
        assert admin.delete(path).status_code == 204
        follow_on = event["extensions"]["cursor"]
        socket.say({"type": "complete", "id": "n"})
        follow(socket, "Deleted", follow_on)
        assert socket.hear()["payload"]["data"] == {"it": path.rpartition("/")[2]}
        trim(worker_database, 1)
        socket.say({"type": "complete", "id": "n"})
        follow(socket, "Deleted", follow_on)
        assert expired(socket.hear())
        follow(socket, "Created", place_now(admin))
        note(admin, "anew")
        assert socket.hear()["payload"]["data"] == {"it": {"version": 1, "text": "anew"}}


@pytest.mark.parametrize("late", ["_select", "_payloads"])
def test_a_subscription_that_lives_is_told_of_what_went_before_it_was_read(
    admin: httpx.Client,
    worker_database: Database,
    owner_database: Database,
    monkeypatch: pytest.MonkeyPatch,
    late: str,
) -> None:
    """The tail is late to read its page, or has read it and is late to read the records."""
    define_notes(admin)
    path = note(admin, "a")
    reached, free = threading.Event(), threading.Event()
    usual = getattr(Tail, late)

    async def waiting(self: Tail, *arguments: Any) -> Any:
        whole = late == "_select" or len(arguments[1].events) == 2
        while whole and not free.is_set():
            reached.set()
            await asyncio.sleep(0.01)
        return await usual(self, *arguments)

    with opened(admin) as socket:
        socket.subscribe("n", "subscription { it: noteUpdated { version text } }")
        assert admin.patch(path, json={"text": "b"}).status_code == 200
        assert socket.hear()["payload"]["data"] == {"it": {"version": 2, "text": "b"}}
        monkeypatch.setattr(Tail, late, waiting)
        try:
            with owner_database.connect(autocommit=False) as held:  # both are of one page
                held.execute("select pg_current_xact_id()")
                for text in "cd":
                    assert admin.patch(path, json={"text": text}).status_code == 200
                held.rollback()
            assert reached.wait(20)
            trim(worker_database, 3)
        finally:
            free.set()
        assert expired(socket.hear())


def test_a_subscription_that_catches_up_slowly_is_told_where_the_versions_end(
    admin: httpx.Client, worker_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.subscriptions.tail._PAGE", 2)
    monkeypatch.setattr("api.subscriptions.outbox.MOST_BYTES", 1_000_000)
    define_notes(admin)
    start, last = place_now(admin), 50
    path = note(admin, *("x" * 300_000 for _ in range(last)))
    with opened(admin, receive_buffer=65_536) as socket:
        follow(socket, "Updated", start)
        assert socket.hear()["payload"]["data"]["it"]["version"] == 2
        trim(worker_database, last - 1)
        heard = [2]
        while (message := socket.hear())["type"] == "next":
            heard.append(message["payload"]["data"]["it"]["version"])
        assert expired(message)
        assert heard == list(range(2, 2 + len(heard)))
        assert len(heard) < last - 1
        assert admin.get(path).json()["version"] == last


def test_a_token_between_deletions_of_one_transaction_expires_with_those_after_it(
    admin: httpx.Client, worker_database: Database
) -> None:
    define_notes(admin)
    ids = [note(admin, text).rpartition("/")[2] for text in "abc"]
    token = place_now(admin)
    gone = admin.request("DELETE", f"{NOTES}/bulk", json={"items": [{"id": i} for i in ids]})
    assert gone.status_code == 200, gone.text

    def page(since: str) -> httpx.Response:
        return admin.get(f"{NOTES}/changes", params={"since": since, "limit": 1})

    tokens = []
    for _ in ids:
        tokens.append(token)
        token = page(token).json()["next"]
    trim(worker_database, 3)
    assert [page(found).status_code for found in tokens] == [410, 410, 410]
    assert page(token).status_code == 200

"""The change feed as clients see it: tokens, limits, tenants, and what is refused."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from hubblewave_pipelines.storage.database import Database
from hubblewave_pipelines.storage.ddl import define
from hubblewave_pipelines.storage.tenants import Tenant

NOTE: dict[str, Any] = {
    "name": "Note",
    "pluralName": "Notes",
    "fields": [{"name": "text", "type": "text"}, {"name": "rank", "type": "decimal"}],
}
TAG: dict[str, Any] = {"name": "Tag", "pluralName": "Tags", "fields": []}
NOTES = "/api/v1/notes"


@pytest.fixture
def client(admin: httpx.Client, owner_database: Database, tenant: Tenant) -> httpx.Client:
    define(owner_database, tenant, NOTE, TAG)
    return admin


def feed(client: httpx.Client, **params: Any) -> dict[str, Any]:
    answer = client.get(f"{NOTES}/changes", params=params)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    assert list(found) == ["items", "next", "more"]
    return found


def made(client: httpx.Client, **body: Any) -> dict[str, Any]:
    answer = client.post(NOTES, json=body)
    assert answer.status_code == 201, answer.text
    record: dict[str, Any] = answer.json()
    return record


def test_a_client_follows_creations_updates_and_deletions(client: httpx.Client) -> None:
    a, b = made(client, text="a", rank="1.10"), made(client, text="b")
    first = feed(client)
    assert not first["more"]
    assert first["items"] == [
        {"kind": "created", "id": r["id"], "version": 1, "at": r["updatedAt"], "record": r}
        for r in (a, b)
    ]
    assert feed(client, since=first["next"])["items"] == []
    changed = client.patch(f"{NOTES}/{a['id']}", json={"text": "c"}).json()
    client.delete(f"{NOTES}/{b['id']}")
    updated, deleted = feed(client, since=first["next"])["items"]
    assert (updated["kind"], updated["record"]) == ("updated", changed)
    assert deleted == {"kind": "deleted", "id": b["id"], "version": 2, "at": deleted["at"]}


def test_pages_concatenated_are_every_change_once(client: httpx.Client) -> None:
    ids = [made(client, text=str(n))["id"] for n in range(7)]
    client.delete(f"{NOTES}/{ids.pop(2)}")
    whole = feed(client)["items"]
    assert [item["id"] for item in whole[:-1]] == ids
    assert whole[-1]["kind"] == "deleted"
    for limit in (1, 2, 3, 7):
        found: list[Any] = []
        since: dict[str, str] = {}
        while True:
            page = feed(client, limit=limit, **since)
            assert len(page["items"]) <= limit
            found += page["items"]
            since = {"since": page["next"]}
            if not page["more"]:
                break
        assert found == whole


def test_a_feed_shows_the_fields_asked_for(client: httpx.Client) -> None:
    made(client, text="a", rank="2")
    (item,) = feed(client, fields="rank")["items"]
    assert item["record"] == {"rank": "2"}


def test_from_now_on_begins_with_nothing(client: httpx.Client) -> None:
    made(client, text="a")
    start = feed(client, since="now")
    assert (start["items"], start["more"]) == ([], False)
    later = made(client, text="b")
    assert [item["id"] for item in feed(client, since=start["next"])["items"]] == [later["id"]]


def test_a_token_outlives_a_change_of_the_definition(client: httpx.Client) -> None:
    made(client, text="a")
    token = feed(client)["next"]
    fields = [{"name": "body", "type": "text"}, NOTE["fields"][1]]
    renamed = {"name": "Memo", "pluralName": "Memos", "fields": fields}
    assert client.put("/api/v1/entities/Note", json=renamed).status_code == 200
    assert client.post("/api/v1/memos", json={"body": "b"}).status_code == 201
    answer = client.get("/api/v1/memos/changes", params={"since": token})
    assert [item["record"]["body"] for item in answer.json()["items"]] == ["b"]


def test_a_token_is_good_for_its_tenant_and_entity_only(
    client: httpx.Client, other_admin: httpx.Client, owner_database: Database, other_tenant: Tenant
) -> None:
    define(owner_database, other_tenant, NOTE)
    made(client, text="a")
    token = feed(client)["next"]
    flipped = ("A" if token[0] != "A" else "B") + token[1:]
    for stranger, path, given in (
        (other_admin, NOTES, token),
        (client, "/api/v1/tags", token),
        (client, NOTES, flipped),
        (client, NOTES, token[:-4]),
    ):
        answer = stranger.get(f"{path}/changes", params={"since": given})
        assert (answer.status_code, answer.json()["code"]) == (400, "request.cursor_mismatch")
    assert feed(other_admin)["items"] == []


def test_a_request_that_waits_is_answered_when_something_happens(client: httpx.Client) -> None:
    token = feed(client)["next"]
    with ThreadPoolExecutor(1) as other:
        waiting = other.submit(feed, client, since=token, wait=20)
        record = made(client, text="a")
        page = waiting.result(25)
    assert [item["id"] for item in page["items"]] == [record["id"]]


def test_a_wait_that_is_over_answers_an_empty_page_to_go_on_from(client: httpx.Client) -> None:
    token = feed(client)["next"]
    empty = feed(client, since=token, wait=1)
    assert (empty["items"], empty["more"]) == ([], False)
    record = made(client, text="a")
    assert [i["id"] for i in feed(client, since=empty["next"])["items"]] == [record["id"]]


def test_a_key_revoked_while_it_waits_learns_nothing_more(
    client: httpx.Client, connect: Any, key_for: Any, tenant: Tenant
) -> None:
    key = key_for(tenant, "read")
    reader = connect(key)
    token = feed(reader)["next"]
    params = {"since": token, "wait": 20}
    with ThreadPoolExecutor(1) as other:
        waiting = other.submit(reader.get, f"{NOTES}/changes", params=params)
        assert client.delete(f"/api/v1/api-keys/{key.split('_')[2]}").status_code == 204
        made(client, text="secret")
        answer = waiting.result(25)
    assert answer.status_code == 401 or answer.json()["items"] == []
    assert reader.get(f"{NOTES}/changes").status_code == 401


@pytest.mark.parametrize(
    "params",
    [
        {"since": ""},
        {"since": "x"},
        {"since": "é\x00"},
        {"since": "9" * 4000},
        {"limit": "0"},
        {"limit": "1001"},
        {"limit": "-1"},
        {"wait": "21"},
        {"wait": "x"},
        {"fields": "nothing"},
        {"sort": "text"},
        {"filter[text]": "a"},
        [("limit", "1"), ("limit", "2")],
    ],
    ids=repr,
)
def test_bad_parameters_of_the_feed_are_refused(client: httpx.Client, params: Any) -> None:
    answer = client.get(f"{NOTES}/changes", params=params)
    assert answer.status_code == 400, answer.text
    assert answer.json()["code"].startswith("request.")


def test_a_feed_needs_a_key_that_may_read_and_takes_no_writes(
    client: httpx.Client, connect: Any
) -> None:
    assert connect(None).get(f"{NOTES}/changes").status_code == 401
    assert client.post(f"{NOTES}/changes", json={}).status_code == 405
    assert client.get("/api/v1/nothing/changes").status_code == 404

"""Entities whose records are changed with If-Match only, definitions with ETags, and key use."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.facade.conftest import Connect, Standing, make_key
from tests.plugins.stack import eventually

TEXT = {"name": "text", "type": "text"}
CODE = {"name": "code", "type": "text", "unique": True}
NOTE: dict[str, Any] = {"name": "Note", "pluralName": "Notes", "fields": [TEXT, CODE]}
NOTES, DEFINITION = "/api/v1/notes", "/api/v1/entities/Note"
STRICT = "handling=strict, "


@pytest.fixture(scope="module")
def client(standing: Standing) -> Iterator[httpx.Client]:
    with standing.client() as client:
        assert client.post("/api/v1/entities", json=NOTE).status_code == 201
        yield client


@pytest.fixture
def guarded(client: httpx.Client) -> Iterator[httpx.Client]:
    answer = client.put(DEFINITION, json={**NOTE, "requireIfMatch": True})
    assert answer.status_code == 200, answer.text
    assert any("If-Match" in said for said in answer.json()["warnings"])
    yield client
    assert client.put(DEFINITION, json=NOTE).json()["requireIfMatch"] is False


def needed(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 428, answer.text
    problem: dict[str, Any] = answer.json()
    assert problem["code"] == "record.precondition_required"
    return problem


def test_a_record_is_changed_only_by_who_says_which_version(guarded: httpx.Client) -> None:
    path = guarded.post(NOTES, json={"text": "a"}).headers["location"]
    needed(guarded.patch(path, json={"text": "b"}))
    needed(guarded.put(path, json={"text": "b"}))
    needed(guarded.delete(path))
    assert guarded.get(path).json()["text"] == "a"
    assert guarded.patch(path, json={"text": "b"}, headers={"If-Match": '"1"'}).status_code == 200
    assert guarded.patch(path, json={"text": "c"}, headers={"If-Match": '"1"'}).status_code == 412
    assert guarded.put(path, json={"text": "c"}, headers={"If-Match": "*"}).status_code == 200
    needed(guarded.post(f"{path}/restore", json={"version": 1}))
    assert guarded.delete(path, headers={"If-Match": '"3"'}).status_code == 204
    assert guarded.post(f"{path}/restore", json={"version": 1}).status_code == 201
    fresh = f"{NOTES}/0190a9a0-0000-7000-8000-000000000001"
    assert guarded.put(fresh, json={}, headers={"If-None-Match": "*"}).status_code == 201


def test_bulk_changes_say_which_versions(guarded: httpx.Client) -> None:
    bulk = f"{NOTES}/bulk"
    made = guarded.post(bulk, json={"items": [{"text": "a"}, {"text": "b"}]}).json()["items"]
    first, second = (item["id"] for item in made)
    change = {"id": first, "set": {"text": "x"}}
    problem = needed(guarded.patch(bulk, json={"items": [change]}))
    assert problem["errors"][0]["pointer"] == "#/items/0/ifMatch"
    needed(guarded.request("DELETE", bulk, json={"ids": [first, second]}))
    needed(guarded.put(bulk, params={"key": "code"}, json={"items": [{"code": "a"}]}))
    items = [{**change, "ifMatch": 1}, {"id": second, "set": {"text": "y"}}]
    mixed = guarded.patch(bulk, json={"items": items, "atomic": False})
    assert [item["status"] for item in mixed.json()["items"]] == [200, 428]
    given = [{"id": first, "ifMatch": 2}, {"id": second, "ifMatch": "*"}]
    assert guarded.request("DELETE", bulk, json={"items": given}).status_code == 200


def test_a_definition_has_an_etag_and_is_changed_at_it(client: httpx.Client) -> None:
    read = client.get(DEFINITION)
    tag = read.headers["etag"]
    same = client.get(DEFINITION, headers={"If-None-Match": tag})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
    body = {**read.json(), "description": "Short texts."}
    wrong = {"If-Match": '"0123456789abcdef01234567"'}
    for method, path in (("PUT", DEFINITION), ("PUT", f"{DEFINITION}?dryRun=true")):
        assert client.request(method, path, json=body, headers=wrong).status_code == 412
    assert client.delete(DEFINITION, headers=wrong).status_code == 412
    assert client.delete(DEFINITION, headers={"If-Match": "x"}).status_code == 400
    assert client.get(DEFINITION).headers["etag"] == tag
    changed = client.put(DEFINITION, json=body, headers={"If-Match": tag})
    assert changed.status_code == 200
    assert changed.headers["etag"] not in (tag, None)
    assert "warnings" not in changed.json()
    assert client.get(DEFINITION).headers["etag"] == changed.headers["etag"]
    assert client.put(DEFINITION, json=body, headers={"If-Match": tag}).status_code == 412


def test_a_breaking_change_says_so_before_and_after(client: httpx.Client) -> None:
    wider = {**NOTE, "fields": [*NOTE["fields"], {"name": "spare", "type": "text"}]}
    assert "warnings" not in client.put(DEFINITION, json=wider).json()
    plan = client.put(DEFINITION, json=NOTE, params={"dryRun": "true"}).json()
    assert plan["breaking"] is True
    answer = client.put(DEFINITION, json=NOTE).json()
    planned = [step["description"] for step in plan["steps"] if step["breaking"]]
    assert answer["warnings"] == [f"breaking: {said}" for said in planned]
    assert client.put(DEFINITION, json=answer).status_code == 200  # what it answers, it takes back


def test_every_answer_names_the_version_of_the_definitions(client: httpx.Client) -> None:
    def version(answer: httpx.Response) -> int:
        return int(answer.headers["x-schema-version"])

    before = version(client.get(NOTES))
    assert version(client.get(f"{NOTES}?pageSize=0")) == before
    body = client.get(DEFINITION).json()
    changed = client.put(DEFINITION, json={**body, "description": "Again."})
    assert version(changed) == before + 1
    assert version(client.post(NOTES, json={})) == before + 1
    nameless = httpx.get(f"{client.base_url}{NOTES}")
    assert "x-schema-version" not in nameless.headers


@pytest.mark.parametrize(
    ("method", "path", "prefer", "status"),
    [
        ("GET", NOTES, STRICT + "count=exact", 200),
        ("GET", NOTES, "respond-async, count=guess", 200),
        ("GET", NOTES, STRICT + "count=guess", 400),
        ("GET", NOTES, STRICT + "return=minimal", 400),
        ("GET", f"{NOTES}/changes", STRICT + "count=exact", 400),
        ("POST", NOTES, STRICT + "return=minimal", 201),
        ("POST", NOTES, STRICT + "respond-async", 400),
        ("POST", NOTES, "respond-async, handling=lenient", 201),
        ("DELETE", f"{NOTES}/0190a9a0-0000-7000-8000-000000000000", STRICT + "wait=10", 400),
    ],
)
def test_a_strict_client_hears_of_what_would_be_ignored(
    client: httpx.Client, method: str, path: str, prefer: str, status: int
) -> None:
    body = {} if method == "POST" else None
    answer = client.request(method, path, json=body, headers={"Prefer": prefer})
    assert answer.status_code == status, answer.text
    if status == 400:
        assert {fault["parameter"] for fault in answer.json()["errors"]} == {"Prefer"}


def test_a_list_is_counted_when_its_caller_prefers_that(client: httpx.Client) -> None:
    client.post(NOTES, json={})
    counted = client.get(NOTES, headers={"Prefer": "count=exact"})
    assert counted.json()["pageInfo"]["totalItems"] >= 1
    assert counted.headers["preference-applied"] == "count=exact"
    asked = client.get(NOTES, params={"count": "none"}, headers={"Prefer": "count=exact"})
    assert asked.json()["pageInfo"]["totalItems"] is None
    assert "preference-applied" not in asked.headers


def test_a_key_says_when_it_was_used_and_is_written_once_a_minute(
    connect: Connect, owner_database: Any, tenant: Any, admin: httpx.Client
) -> None:
    connect(make_key(owner_database, tenant, "read")).get("/api/v1/entities")

    def used() -> dict[str, str | None]:
        keys = admin.get("/api/v1/api-keys").json()["items"]
        return {key["id"]: key["lastUsedAt"] for key in keys}

    eventually(lambda: all(used().values()), "the use of both keys is written")
    first = used()
    with owner_database.connect() as connection:
        ids = list(first)
        connection.execute("set role hubblewave_app")
        connection.execute("select hubblewave.note_keys(%s)", (ids,))
        assert used() == first
        connection.execute("reset role")
        connection.execute("update hubblewave.api_keys set last_used_at = now() - interval '2 min'")
        connection.execute("set role hubblewave_app")
        connection.execute("select hubblewave.note_keys(%s)", (ids,))
        assert all((used()[key] or "") > (first[key] or "") for key in ids)

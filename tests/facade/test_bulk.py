"""Bulk writes: the outcome of each item in order, all or nothing, and every fault with its place."""

import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from hubblewave_pipelines.storage.database import Database
from hubblewave_pipelines.storage.ddl import define
from hubblewave_pipelines.storage.tenants import Tenant

SHELF = {
    "name": "Shelf",
    "pluralName": "Shelves",
    "fields": [{"name": "label", "type": "text"}],
    "relationships": [{"name": "above", "type": "manyToOne", "targetEntity": "Shelf"}],
}
BOOK = {
    "name": "Book",
    "pluralName": "Books",
    "fields": [
        {"name": "isbn", "type": "text", "unique": True},
        {"name": "slug", "type": "text", "unique": True, "maxLength": 20},
        {"name": "title", "type": "text", "required": True},
        {"name": "price", "type": "decimal", "min": "0"},
        {"name": "state", "type": "enum", "enum": ["in", "out"], "default": "in"},
        {"name": "data", "type": "json"},
        {"name": "rank", "type": "integer", "computed": True},
    ],
    "relationships": [
        {"name": "shelf", "type": "manyToOne", "targetEntity": "Shelf"},
        {"name": "backup", "type": "manyToOne", "targetEntity": "Shelf", "onDelete": "setNull"},
    ],
}
ABSENT = "0190a9a0-0000-7000-8000-000000000000"
BULK = "/api/v1/books/bulk"
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def client(standing: Any) -> Iterator[httpx.Client]:
    define(standing.owner, standing.tenant, SHELF, BOOK)
    with standing.client() as client:
        yield client


@pytest.fixture(autouse=True)
def emptied(client: httpx.Client) -> Iterator[None]:
    yield
    for plural in ("books", "shelves"):
        items = client.get(f"/api/v1/{plural}", params={"pageSize": 1000}).json()["items"]
        if items:
            answer = send(client, "DELETE", plural, ids=[item["id"] for item in items])
            assert answer.status_code == 200, answer.text


def send(client: httpx.Client, method: str, plural: str = "books", **body: Any) -> httpx.Response:
    return client.request(method, f"/api/v1/{plural}/bulk", json=body)


def books(client: httpx.Client) -> list[dict[str, Any]]:
    listed = client.get("/api/v1/books", params={"pageSize": 1000, "sort": "createdAt,id"})
    found: list[dict[str, Any]] = listed.json()["items"]
    return found


def made(client: httpx.Client, *bodies: dict[str, Any], plural: str = "books") -> list[str]:
    answer = send(client, "POST", plural, items=list(bodies))
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()["items"]]


def test_records_are_created_in_request_order(client: httpx.Client) -> None:
    bodies = [{"title": f"t{n}", "price": f"{n}.50", "data": {"n": [n]}} for n in range(30)]
    answer = send(client, "POST", items=bodies)
    assert answer.status_code == 200
    found = answer.json()
    assert found["summary"] == {"total": 30, "succeeded": 30, "failed": 0}
    assert [item["index"] for item in found["items"]] == list(range(30))
    assert {(item["status"], item["version"]) for item in found["items"]} == {(201, 1)}
    stored = books(client)
    assert [book["id"] for book in stored] == [item["id"] for item in found["items"]]
    assert [book["title"] for book in stored] == [body["title"] for body in bodies]
    assert (stored[3]["price"], stored[3]["state"], stored[3]["data"]) == ("3.50", "in", {"n": [3]})


def test_the_records_are_shown_when_preferred(client: httpx.Client) -> None:
    prefer = {"Prefer": "return=representation"}
    answer = client.post(BULK, json={"items": [{"title": "a"}]}, headers=prefer)
    assert answer.headers["preference-applied"] == "return=representation"
    assert [item["record"] for item in answer.json()["items"]] == books(client)
    change = {"items": [{"id": books(client)[0]["id"], "set": {"title": "b"}}]}
    shown = client.patch(BULK, json=change, headers=prefer).json()["items"][0]["record"]
    assert (shown["title"], shown["version"]) == ("b", 2)


def test_one_bad_item_stops_an_atomic_request_and_every_fault_is_named(
    client: httpx.Client,
) -> None:
    made(client, {"title": "there", "isbn": "taken"})
    items = [
        {"title": "good"},
        {"price": "-1", "stat": "in"},
        {"title": "x", "isbn": "taken"},
        {"title": "x", "shelfId": ABSENT},
        7,
        {"title": "x", "rank": 1},
    ]
    refused = send(client, "POST", items=items)
    assert refused.status_code == 422
    assert "5 items were refused of 6; nothing was written" in refused.json()["detail"]
    found = [(error["pointer"], error["code"]) for error in refused.json()["errors"]]
    assert found == [
        ("#/items/1/stat", "unknown"),
        ("#/items/1/title", "required"),
        ("#/items/1/price", "range"),
        ("#/items/2/isbn", "unique"),
        ("#/items/3/shelfId", "reference"),
        ("#/items/4", "type"),
        ("#/items/5/rank", "read_only"),
    ]
    assert [book["title"] for book in books(client)] == ["there"]


def test_only_a_present_state_in_the_way_is_a_conflict(client: httpx.Client) -> None:
    made(client, {"title": "there", "isbn": "taken"})
    refused = send(client, "POST", items=[{"title": "a"}, {"title": "b", "isbn": "taken"}])
    assert (refused.status_code, len(books(client))) == (409, 1)
    gone = send(client, "DELETE", ids=[ABSENT])
    assert (gone.status_code, gone.json()["errors"][0]["code"]) == (409, "not_found")


def test_good_items_are_written_beside_bad_ones_when_not_atomic(client: httpx.Client) -> None:
    made(client, {"title": "there", "isbn": "taken"})
    items = [{"title": "a"}, {"title": ""}, {}, {"title": "b", "isbn": "taken"}, {"title": "c"}]
    answer = send(client, "POST", items=items, atomic=False)
    assert answer.status_code == 207
    found = answer.json()
    assert found["summary"] == {"total": 5, "succeeded": 3, "failed": 2}
    assert [item["status"] for item in found["items"]] == [201, 201, 422, 409, 201]
    error = found["items"][3]["error"]
    assert (error["code"], error["errors"][0]["pointer"]) == (
        "record.not_unique",
        "#/items/3/isbn",
    )
    assert [book["title"] for book in books(client)] == ["there", "a", "", "c"]


def test_of_two_items_with_one_unique_value_the_later_is_refused(client: httpx.Client) -> None:
    items = [{"title": "a", "isbn": "1"}, {"title": "b", "isbn": "1"}, {"title": "c"}]
    assert send(client, "POST", items=items).status_code == 422
    answer = send(client, "POST", items=items, atomic=False)
    assert [item["status"] for item in answer.json()["items"]] == [201, 422, 201]
    fault = answer.json()["items"][1]["error"]["errors"][0]
    assert (fault["pointer"], fault["code"]) == ("#/items/1/isbn", "duplicate")
    assert "item 0" in fault["detail"]


def test_records_are_changed_at_their_versions(client: httpx.Client) -> None:
    a, b, c = made(client, {"title": "a"}, {"title": "b", "price": "1"}, {"title": "c"})
    items = [
        {"id": a, "set": {"title": "a2"}, "ifMatch": 1},
        {"id": b, "set": {"price": None}, "ifMatch": '"1"'},
        {"id": c, "set": {"title": "c2"}, "ifMatch": 7},
        {"id": ABSENT, "set": {"title": "d"}},
    ]
    refused = send(client, "PATCH", items=items)
    assert refused.status_code == 409
    found = [(error["pointer"], error["code"]) for error in refused.json()["errors"]]
    assert found == [("#/items/2/id", "version"), ("#/items/3/id", "not_found")]
    assert {book["version"] for book in books(client)} == {1}
    answer = send(client, "PATCH", items=items, atomic=False)
    assert [item["status"] for item in answer.json()["items"]] == [200, 200, 412, 404]
    shown = [(book["title"], book["price"], book["version"]) for book in books(client)]
    assert shown == [("a2", None, 2), ("b", None, 2), ("c", None, 1)]


def test_items_may_pass_a_unique_value_on_in_their_order(client: httpx.Client) -> None:
    a, b, c = made(client, *({"title": t, "isbn": t} for t in "abc"))
    give_up_first = [
        {"id": a, "set": {"isbn": "free"}},
        {"id": b, "set": {"isbn": "a"}},
        {"id": c, "set": {"isbn": "b"}},
    ]
    assert send(client, "PATCH", items=give_up_first).status_code == 200
    assert [book["isbn"] for book in books(client)] == ["free", "a", "b"]
    take_first = [{"id": b, "set": {"isbn": "b"}}, {"id": c, "set": {"isbn": "other"}}]
    assert send(client, "PATCH", items=take_first).status_code == 409
    answer = send(client, "PATCH", items=take_first, atomic=False)
    assert [item["status"] for item in answer.json()["items"]] == [409, 200]


def test_records_are_put_by_a_unique_field(client: httpx.Client) -> None:
    (first,) = made(client, {"title": "old", "isbn": "1", "price": "5", "slug": "s"})
    items = [{"title": "new", "isbn": "1"}, {"title": "more", "isbn": "2", "slug": "t"}]
    answer = client.put(BULK, params={"key": "isbn"}, json={"items": items})
    assert answer.status_code == 200, answer.text
    found = [(item["status"], item["version"]) for item in answer.json()["items"]]
    assert found == [(200, 2), (201, 1)]
    assert answer.json()["items"][0]["id"] == first
    shown = [(b["title"], b["isbn"], b["price"], b["slug"]) for b in books(client)]
    assert shown == [("new", "1", None, None), ("more", "2", None, "t")]
    twice = client.put(BULK, params={"key": "isbn"}, json={"items": items[:1] * 2})
    assert (twice.status_code, twice.json()["errors"][0]["pointer"]) == (422, "#/items/1/isbn")
    other = [{"title": "x", "isbn": "3", "slug": "t"}, {"title": "y", "isbn": "2"}]
    taken = client.put(BULK, params={"key": "isbn"}, json={"items": other, "atomic": False})
    assert [item["status"] for item in taken.json()["items"]] == [409, 200]
    passed_on = client.put(BULK, params={"key": "isbn"}, json={"items": other[:1]})
    assert [item["status"] for item in passed_on.json()["items"]] == [201]


@pytest.mark.parametrize("query", ["", "?key=title", "?key=isb", "?key=isbn&key=slug", "?key="])
def test_a_put_needs_a_unique_field_as_key(client: httpx.Client, query: str) -> None:
    refused = client.put(f"{BULK}{query}", json={"items": [{"title": "a", "isbn": "1"}]})
    assert refused.status_code == 400
    assert [error["parameter"] for error in refused.json()["errors"]] == ["key"]


def test_an_item_without_its_key_is_refused(client: httpx.Client) -> None:
    refused = client.put(BULK, params={"key": "isbn"}, json={"items": [{"title": "a"}]})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "#/items/0/isbn")


def test_records_are_deleted_by_id_or_at_a_version(client: httpx.Client) -> None:
    a, b, c = made(client, *({"title": t} for t in "abc"))
    answer = send(client, "DELETE", ids=[a, ABSENT, a, "nonsense"], atomic=False)
    assert [item["status"] for item in answer.json()["items"]] == [204, 404, 422, 422]
    pointers = [item["error"]["errors"][0]["pointer"] for item in answer.json()["items"][1:]]
    assert pointers == ["#/ids/1", "#/ids/2", "#/ids/3"]
    items = [{"id": b, "ifMatch": 1}, {"id": c, "ifMatch": 2}]
    answer = send(client, "DELETE", items=items, atomic=False)
    assert [item["status"] for item in answer.json()["items"]] == [204, 412]
    assert [book["id"] for book in books(client)] == [c]


def test_a_referenced_record_is_not_deleted_and_says_by_whom(client: httpx.Client) -> None:
    a, b, c = made(client, *({"label": t} for t in "abc"), plural="shelves")
    made(client, {"title": "x", "shelfId": b, "backupId": c})
    refused = send(client, "DELETE", "shelves", ids=[a, b, c])
    assert refused.status_code == 409
    fault = refused.json()["errors"][0]
    assert (fault["pointer"], fault["code"]) == ("#/ids/1", "referenced")
    assert "Book records still refer to this Shelf" in fault["detail"]
    answer = send(client, "DELETE", "shelves", ids=[a, b, c], atomic=False)
    assert [item["status"] for item in answer.json()["items"]] == [204, 409, 204]
    assert [(book["shelfId"], book["backupId"]) for book in books(client)] == [(b, None)]


def test_records_that_refer_to_each_other_go_together(client: httpx.Client) -> None:
    (low,) = made(client, {"label": "low"}, plural="shelves")
    (high,) = made(client, {"label": "high", "aboveId": low}, plural="shelves")
    (top,) = made(client, {"label": "top", "aboveId": high}, plural="shelves")
    kept = send(client, "DELETE", "shelves", ids=[low, high], atomic=False)
    assert [item["status"] for item in kept.json()["items"]] == [409, 409]
    assert send(client, "DELETE", "shelves", ids=[low, high, top]).status_code == 200


BODIES: list[tuple[Any, int, str | None]] = [
    ([], 400, None),
    ({}, 400, "#/items"),
    ({"items": {}}, 400, "#/items"),
    ({"items": None}, 400, "#/items"),
    ({"items": []}, 400, "#/items"),
    ({"items": [{"title": "a"}] * 1001}, 413, "#/items"),
    ({"items": [{"title": "a"}], "atomic": "no"}, 422, "#/atomic"),
    ({"items": [{"title": "a"}], "atomc": False}, 422, "#/atomc"),
    ({"items": [None]}, 422, "#/items/0"),
    ({"items": [{"title": "a", "a/b~c": 1}]}, 422, "#/items/0/a~1b~0c"),
]


@pytest.mark.parametrize(("body", "status", "pointer"), BODIES, ids=lambda v: repr(v)[:40])
def test_a_bad_bulk_body_is_refused_with_its_place(
    client: httpx.Client, body: Any, status: int, pointer: str | None
) -> None:
    refused = client.post(BULK, json=body)
    assert refused.status_code == status, refused.text
    assert refused.headers["content-type"] == "application/problem+json"
    if pointer is not None:
        assert [error["pointer"] for error in refused.json()["errors"]] == [pointer]
    assert books(client) == []


@pytest.mark.parametrize(
    ("item", "pointers"),
    [
        ({}, ["#/items/0/id", "#/items/0/set"]),
        ({"id": "x", "set": {}}, ["#/items/0/id", "#/items/0/set"]),
        ({"id": ABSENT, "set": {"title": None}}, ["#/items/0/set/title"]),
        ({"id": ABSENT, "set": {"title": "a"}, "ifmatch": 1}, ["#/items/0/ifmatch"]),
        ({"id": ABSENT, "set": {"title": "a"}, "ifMatch": "W/1"}, ["#/items/0/ifMatch"]),
        ({"id": ABSENT, "set": {"title": "a"}, "ifMatch": True}, ["#/items/0/ifMatch"]),
        ({"id": ABSENT, "set": []}, ["#/items/0/set"]),
        ("x", ["#/items/0"]),
    ],
)
def test_a_bad_change_is_refused_with_its_place(
    client: httpx.Client, item: Any, pointers: list[str]
) -> None:
    refused = send(client, "PATCH", items=[item])
    assert refused.status_code == 422, refused.text
    assert [error["pointer"] for error in refused.json()["errors"]] == pointers


def test_bulk_answers_four_methods_and_other_entities_have_their_own(
    client: httpx.Client,
) -> None:
    refused = client.get(BULK)
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST, PUT, PATCH, DELETE")
    assert client.post("/api/v1/nothings/bulk", json={"items": [{}]}).status_code == 404
    assert client.post(f"{BULK}?atomic=false", json={"items": [{}]}).status_code == 400
    assert client.post(BULK, content=b"{}", headers={"Content-Type": "a/b"}).status_code == 415
    assert client.post(BULK, content=b"{", headers=JSON).status_code == 400


def test_the_scope_read_writes_nothing_in_bulk(client: httpx.Client, standing: Any) -> None:
    from tests.facade.conftest import make_key

    with standing.client(make_key(standing.owner, standing.tenant, "read")) as reader:
        assert send(reader, "POST", items=[{"title": "a"}]).status_code == 403


def test_a_bulk_request_sent_again_under_its_key_acts_once(client: httpx.Client) -> None:
    keyed = {"Idempotency-Key": str(uuid.uuid4())}
    body = {"items": [{"title": "a"}, {}], "atomic": False}
    answers = [client.post(BULK, json=body, headers=keyed) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [207, 207]
    assert answers[0].json() == answers[1].json()
    assert len(books(client)) == 1


def test_another_tenants_records_are_not_there(
    admin: httpx.Client, other_admin: httpx.Client, owner_database: Database,
    tenant: Tenant, other_tenant: Tenant,
) -> None:  # fmt: skip
    for whose in (tenant, other_tenant):
        define(owner_database, whose, SHELF, BOOK)
    (book,) = made(admin, {"title": "a", "isbn": "1"})
    (shelf,) = made(admin, {"label": "s"}, plural="shelves")
    changed = send(other_admin, "PATCH", items=[{"id": book, "set": {"title": "b"}}], atomic=False)
    deleted = send(other_admin, "DELETE", ids=[book], atomic=False)
    placed = send(other_admin, "POST", items=[{"title": "x", "shelfId": shelf}], atomic=False)
    found = [answer.json()["items"][0]["status"] for answer in (changed, deleted, placed)]
    assert found == [404, 404, 422]
    assert made(other_admin, {"title": "a", "isbn": "1"}) != [book]
    assert [b["title"] for b in books(admin)] == ["a"]

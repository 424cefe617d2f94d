"""Records that are gone, and records as they were: `deleted` and `asOf` over HTTP."""

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from api import lists
from hubblewave_pipelines.storage.database import Statement
from tests.facade.conftest import Standing

PARENT = {"name": "Parent", "pluralName": "Parents", "fields": [{"name": "name", "type": "text"}]}
CHILD = {
    "name": "Child",
    "pluralName": "Children",
    "fields": [
        {"name": "name", "type": "text", "required": True},
        {"name": "size", "type": "integer"},
        {"name": "worth", "type": "decimal"},
        {"name": "data", "type": "json"},
    ],
    "relationships": [
        {"name": "parent", "type": "manyToOne", "targetEntity": "Parent", "onDelete": "setNull"}
    ],
}
CHILDREN = "/api/v1/children"


@pytest.fixture(scope="module")
def client(standing: Standing) -> Iterator[httpx.Client]:
    with standing.client() as client:
        for body in (PARENT, CHILD):
            assert client.post("/api/v1/entities", json=body).status_code == 201
        yield client


def walked(client: httpx.Client, **asked: Any) -> list[dict[str, Any]]:
    """Every record of a list, read by following its links two records at a time."""
    found: list[dict[str, Any]] = []
    address: str | None = CHILDREN
    given: dict[str, Any] | None = {"pageSize": 2, **asked}
    while address is not None:
        answer = client.get(address, params=given)
        assert answer.status_code == 200, answer.text
        found += answer.json()["items"]
        address, given = answer.links.get("next", {}).get("url"), None
    return found


def moment(standing: Standing) -> str:
    """The server's clock, between what was and what comes."""
    with standing.owner.connect() as connection:
        row = connection.execute(
            'select to_char(clock_timestamp(), \'YYYY-MM-DD"T"HH24:MI:SS.US"Z"\')'
        ).fetchone()
    assert row is not None
    return str(row[0])


def test_a_view_is_read_once(
    client: httpx.Client, standing: Standing, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = client.post(CHILDREN, json={"name": "once"}).raise_for_status().json()["id"]
    then, reads = moment(standing), list[str]()

    def counting(build: Callable[..., Statement[Any]]) -> Callable[..., Statement[Any]]:
        def built(*given: Any) -> Statement[Any]:
            select = build(*given)

            def row(found: tuple[Any, ...]) -> Any:
                reads.append(build.__name__)
                return select.row(found)

            return replace(select, row=row)

        return built

    monkeypatch.setattr(lists, "select_page", counting(lists.select_page))
    monkeypatch.setattr(lists, "select_record", counting(lists.select_record))
    for path in (CHILDREN, f"{CHILDREN}/{made}"):
        for given in ({}, {"asOf": then}):
            assert client.get(path, params=given).status_code == 200
    assert reads == ["select_page", "select_page", "select_record", "select_record"]


@pytest.mark.parametrize("seed", range(3))
def test_every_instant_is_shown_as_it_was(
    client: httpx.Client, standing: Standing, seed: int
) -> None:
    chance = random.Random(seed)
    parent = client.post("/api/v1/parents", json={"name": "p"}).json()["id"]
    for one in walked(client):
        client.delete(f"{CHILDREN}/{one['id']}")
    ids: list[str] = []
    was: dict[str, list[dict[str, Any]]] = {}
    for step in range(14):
        kind = chance.choice(["create", "create", "patch", "patch", "delete", "restore", "bulk"])
        one = chance.choice(ids) if ids else None
        if kind == "create" or one is None:
            body = {"name": f"n{step}", "size": chance.choice([None, 1, 2]), "parentId": parent}
            ids.append(client.post(CHILDREN, json=body).json()["id"])
        elif kind == "patch":
            body = {"size": chance.choice([None, 3, 4]), "worth": "1.50", "data": {"s": step}}
            client.patch(f"{CHILDREN}/{one}", json=body)
        elif kind == "delete":
            client.delete(f"{CHILDREN}/{one}")
        elif kind == "restore":
            client.post(f"{CHILDREN}/{one}/restore", json={"version": 1})
        else:
            items = [{"id": i, "set": {"name": f"b{step}"}} for i in ids]
            client.patch(f"{CHILDREN}/bulk", json={"items": items, "atomic": False})
        was[moment(standing)] = walked(client, sort="size,-name")
    client.delete(f"/api/v1/parents/{parent}")  # a cascade is a change like any other
    assert len({str(state) for state in was.values()}) > 5
    for at, state in was.items():
        assert walked(client, sort="size,-name", asOf=at) == state
        exact = client.get(CHILDREN, params={"asOf": at, "count": "exact", "pageSize": 1}).json()
        assert exact["pageInfo"]["totalItems"] == len(state)
        for record in state:
            alone = client.get(f"{CHILDREN}/{record['id']}", params={"asOf": at})
            assert alone.json() == record
            assert alone.headers["etag"] == f'"{record["version"]}"'
        absent = set(ids) - {record["id"] for record in state}
        for record_id in absent:
            gone = client.get(f"{CHILDREN}/{record_id}", params={"asOf": at})
            assert gone.status_code == 404


def test_deleted_records_are_shown_on_request_only(client: httpx.Client) -> None:
    kept, gone = (
        client.post(CHILDREN, json={"name": name, "size": 77}).json() for name in ("kept", "gone")
    )
    where = {"filter[size]": "77", "sort": "name", "fields": "name"}
    at = f"{CHILDREN}/{gone['id']}"
    assert client.get(at, params={"deleted": "only"}).status_code == 404
    client.patch(at, json={"worth": "9"})
    client.delete(at)
    assert client.get(CHILDREN, params=where).json()["items"] == [{"name": "kept"}]
    both = client.get(CHILDREN, params={**where, "deleted": "include"}).json()["items"]
    assert [item["name"] for item in both] == ["gone", "kept"]
    assert both[1]["deletedAt"] is None
    assert both[0]["deletedAt"] > gone["updatedAt"]
    only = client.get(CHILDREN, params={**where, "deleted": "only", "count": "exact"}).json()
    assert only["items"] == both[:1]
    assert only["pageInfo"]["totalItems"] == 1
    assert client.get(at).status_code == 404
    shown = client.get(at, params={"deleted": "include"}).json()
    assert (shown["worth"], shown["version"]) == ("9", 2)
    assert client.get(f"{CHILDREN}/{kept['id']}", params={"deleted": "only"}).status_code == 404
    body = {"where": {"size": 77}, "deleted": "only", "fields": ["name"]}
    assert client.post(f"{CHILDREN}/query", json=body).json()["items"] == both[:1]
    client.post(f"{at}/restore", json={"version": 1})
    assert client.get(CHILDREN, params={**where, "deleted": "only"}).json()["items"] == []
    client.delete(at)
    again = client.get(CHILDREN, params={**where, "deleted": "only"}).json()["items"]
    assert [item["name"] for item in again] == ["gone"]


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("?deleted=yes", "deleted"),
        ("?asOf=yesterday", "asOf"),
        ("?asOf=9999-01-01T00:00:00Z", "asOf"),
        ("?asOf=2026-01-01T00:00:00Z&deleted=only", "asOf"),
        ("?deleted=only&expand=parent", "expand"),
        ("?deleted=only&sort=parent.name", "sort"),
        ("?asOf=2026-01-01T00:00:00Z&filter[parent.name]=x", "asOf"),
        ("?deleted=only&where={%22not%22:{%22parent%22:{%22name%22:%22x%22}}}", "deleted"),
        ("/ID?deleted=maybe", "deleted"),
        ("/ID?asOf=2026-01-01T00:00:00Z&expand=parent", "expand"),
        ("/aggregate?aggregate[count]=*&deleted=only", "deleted"),
        ("/changes?asOf=2026-01-01T00:00:00Z", "asOf"),
    ],
)
def test_what_a_view_of_the_past_cannot_do_is_refused(
    client: httpx.Client, path: str, named: str
) -> None:
    path = path.replace("ID", "0190a9a0-0000-7000-8000-000000000000")
    answer = client.get(f"{CHILDREN}{path}")
    assert answer.status_code == 400, answer.text
    assert named in {fault["parameter"] for fault in answer.json()["errors"]}


def test_a_cursor_belongs_to_its_view(client: httpx.Client) -> None:
    for name in "abc":
        path = client.post(CHILDREN, json={"name": name}).headers["location"]
        client.delete(path)
    page = client.get(CHILDREN, params={"deleted": "only", "pageSize": 1}).json()
    cursor = {"after": page["pageInfo"]["endCursor"]}
    assert client.get(CHILDREN, params={"deleted": "only", **cursor}).status_code == 200
    for other in ({}, {"deleted": "include"}, {"asOf": "2026-01-01T00:00:00Z"}):
        answer = client.get(CHILDREN, params={**other, **cursor})
        assert answer.json()["code"] == "request.cursor_mismatch"


def test_related_lists_know_no_past(client: httpx.Client) -> None:
    parent = client.post("/api/v1/parents", json={}).json()["id"]
    body = {**PARENT, "relationships": [
        {"name": "children", "type": "oneToMany", "targetEntity": "Child"}
    ]}  # fmt: skip
    assert client.put("/api/v1/entities/Parent", json=body).status_code == 200
    path = f"/api/v1/parents/{parent}/children"
    assert client.get(path).status_code == 200
    assert client.get(path, params={"deleted": "only"}).status_code == 400


def test_links_lead_through_the_pages_both_ways(client: httpx.Client) -> None:
    for number in range(5):
        client.post(CHILDREN, json={"name": f"link {number}"})
    asked = {"filter[name][startsWith]": "link ", "sort": "name", "pageSize": "2"}
    first = client.get(CHILDREN, params=asked)
    assert set(first.links) == {"next"}
    assert "after=" in first.links["next"]["url"]
    second = client.get(first.links["next"]["url"])
    assert [item["name"] for item in second.json()["items"]] == ["link 2", "link 3"]
    assert client.get(second.links["prev"]["url"]).json()["items"] == first.json()["items"]
    third = client.get(second.links["next"]["url"])
    assert set(third.links) == {"prev"}
    numbered = client.get(CHILDREN, params={**asked, "page": 2})
    assert numbered.links["next"]["url"].endswith("page=3")
    assert numbered.links["prev"]["url"].endswith("page=1")
    assert client.get(numbered.links["next"]["url"]).json()["items"] == third.json()["items"]

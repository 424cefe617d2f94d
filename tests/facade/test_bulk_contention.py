"""Bulk writes at once: whatever meets, each request is all, nothing or what its items say."""

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import httpx
import pytest

from hubblewave_pipelines.core.entity import Entity
from hubblewave_pipelines.storage import bulk
from hubblewave_pipelines.storage.database import statement
from hubblewave_pipelines.storage.ddl import apply_change, define

SEAT = {
    "name": "Seat",
    "pluralName": "Seats",
    "fields": [
        {"name": "number", "type": "integer", "unique": True},
        {"name": "guest", "type": "text"},
    ],
}
SEATS, BULK = "/api/v1/seats", "/api/v1/seats/bulk"


@pytest.fixture(scope="module")
def client(standing: Any) -> Iterator[httpx.Client]:
    define(standing.owner, standing.tenant, SEAT)
    with standing.client() as client:
        yield client


@pytest.fixture(autouse=True)
def emptied(client: httpx.Client) -> Iterator[None]:
    yield
    ids = [seat["id"] for seat in seats(client)]
    if ids:
        assert client.request("DELETE", BULK, json={"ids": ids}).status_code == 200


def seats(client: httpx.Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get(SEATS, params={"pageSize": 1000}).json()["items"]
    return found


def at_once(standing: Any, method: str, bodies: list[Any], **params: str) -> list[httpx.Response]:
    def send(body: Any) -> httpx.Response:
        with standing.client() as own:
            return own.request(method, BULK, json=body, params=params)

    with ThreadPoolExecutor(len(bodies)) as pool:
        return list(pool.map(send, bodies))


def test_of_requests_for_the_same_values_each_value_has_one_winner(
    client: httpx.Client, standing: Any
) -> None:
    """Half of them want the values in the opposite order, which would lock row against row."""
    numbers = list(range(40))
    bodies = [
        {"items": [{"number": n, "guest": f"g{g}"} for n in numbers[:: 1 - 2 * (g % 2)]]}
        for g in range(6)
    ]
    answers = at_once(standing, "POST", [{**body, "atomic": False} for body in bodies])
    assert {answer.status_code for answer in answers} <= {200, 207}, [a.text for a in answers]
    won = [i["status"] for answer in answers for i in answer.json()["items"]]
    assert (won.count(201), won.count(409)) == (40, 200)
    assert sorted(seat["number"] for seat in seats(client)) == numbers


def test_of_atomic_requests_for_the_same_values_one_wins_all(
    client: httpx.Client, standing: Any
) -> None:
    bodies = [{"items": [{"number": n, "guest": f"g{g}"} for n in range(30)]} for g in range(5)]
    statuses = sorted(answer.status_code for answer in at_once(standing, "POST", bodies))
    assert statuses == [200, 409, 409, 409, 409]
    assert len({seat["guest"] for seat in seats(client)}) == 1


def test_puts_of_the_same_records_at_once_all_succeed(client: httpx.Client, standing: Any) -> None:
    bodies = [
        {"items": [{"number": n, "guest": f"g{g}"} for n in range(30)[:: 1 - 2 * (g % 2)]]}
        for g in range(5)
    ]
    answers = at_once(standing, "PUT", bodies, key="number")
    assert [answer.status_code for answer in answers] == [200] * 5, [a.text for a in answers]
    created = [i["status"] for answer in answers for i in answer.json()["items"]].count(201)
    found = seats(client)
    assert (created, len(found), {seat["version"] for seat in found}) == (30, 30, {5})
    assert len({seat["guest"] for seat in found}) == 1


def test_changes_of_the_same_records_at_once_are_one_after_the_other(
    client: httpx.Client, standing: Any
) -> None:
    client.post(BULK, json={"items": [{"number": n} for n in range(30)]})
    ids = [seat["id"] for seat in seats(client)]
    bodies = [
        {"items": [{"id": i, "set": {"guest": f"g{g}"}} for i in ids[:: 1 - 2 * (g % 2)]]}
        for g in range(5)
    ]
    answers = at_once(standing, "PATCH", bodies)
    assert [answer.status_code for answer in answers] == [200] * 5, [a.text for a in answers]
    found = seats(client)
    assert {seat["version"] for seat in found} == {6}
    assert len({seat["guest"] for seat in found}) == 1


def test_retries_of_bulk_requests_under_their_keys_have_one_effect(
    client: httpx.Client, standing: Any
) -> None:
    keys = [str(uuid.uuid4()) for _ in range(3)]

    def insist(number: int) -> httpx.Response:
        body = {"items": [{"guest": keys[number % 3]}, {"guest": "x", "number": "bad"}]}
        headers = {"Idempotency-Key": keys[number % 3]}
        with standing.client() as own:
            while True:
                answer = own.post(BULK, json={**body, "atomic": False}, headers=headers)
                if answer.status_code != 409:
                    return answer

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(insist, range(12)))
    assert {answer.status_code for answer in answers} == {207}
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 3
    assert sorted(seat["guest"] for seat in seats(client)) == sorted(keys)


def test_what_the_database_refuses_is_found_by_halves(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rule that validation does not know costs the items that break it, and only those."""
    insert = bulk.insert_items

    def strict(*given: Any, **named: Any) -> Any:
        built = insert(*given, **named)
        bad = any(item.values["guest"] in ("odd", "strange") for item in given[1])
        raising = "raise exception 'select secret' using errcode = '23514'"
        return statement(f"do $$ begin {raising}; end $$") if bad else built

    monkeypatch.setattr(bulk, "insert_items", strict)
    guests = ["a", "odd", "b", "c", "strange", "d", "e"]
    body = {"items": [{"guest": guest} for guest in guests], "atomic": False}
    answer = client.post(BULK, json=body)
    outcomes = [item["status"] for item in answer.json()["items"]]
    assert outcomes == [201, 422, 201, 201, 422, 201, 201]
    assert "secret" not in answer.text
    assert answer.json()["items"][4]["error"]["errors"][0]["pointer"] == "#/items/4"
    assert sorted(seat["guest"] for seat in seats(client)) == ["a", "b", "c", "d", "e"]
    assert client.post(BULK, json={"items": body["items"]}).status_code == 422
    assert len(seats(client)) == 5


def test_a_bulk_request_sees_a_change_of_definition_as_one_instant(
    client: httpx.Client, standing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rule that came after the request read its catalog is judged by the newer catalog."""
    define(standing.owner, standing.tenant, {**SEAT, "name": "Stool", "pluralName": "Stools"})
    insert, calls = bulk.insert_items, list[int]()

    def changed_meanwhile(*given: Any, **named: Any) -> Any:
        calls.append(len(given[1]))
        if len(calls) == 1:
            stool: Entity = given[0]
            number, guest = stool.fields
            shorter = replace(stool, fields=(number, replace(guest, max_length=5)))
            apply_change(standing.owner, standing.tenant, stool, shorter)
        return insert(*given, **named)

    monkeypatch.setattr(bulk, "insert_items", changed_meanwhile)
    body = {"items": [{"guest": "short"}, {"guest": "much too long"}], "atomic": False}
    answer = client.post("/api/v1/stools/bulk", json=body)
    assert answer.status_code == 207, answer.text
    assert [item["status"] for item in answer.json()["items"]] == [201, 422]
    assert answer.json()["items"][1]["error"]["errors"][0]["code"] == "length"
    assert calls[-1] == 1

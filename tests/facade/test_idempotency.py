"""A write sent again under its Idempotency-Key: one effect, one answer."""

import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from hubblewave_pipelines.storage.database import Database, statement
from hubblewave_pipelines.storage.ddl import define
from hubblewave_pipelines.storage.idempotency import Kept, answer_to, keep_answer
from hubblewave_pipelines.storage.tenants import Tenant

PAYMENT = {
    "name": "Payment",
    "pluralName": "Payments",
    "fields": [
        {"name": "number", "type": "text", "unique": True},
        {"name": "total", "type": "integer"},
    ],
}
PATH = "/api/v1/payments"


@pytest.fixture(scope="module")
def client(standing: Any) -> Iterator[httpx.Client]:
    define(standing.owner, standing.tenant, PAYMENT)
    with standing.client() as client:
        yield client


@pytest.fixture
def keyed() -> dict[str, str]:
    """Headers with a key that no other test uses."""
    return {"Idempotency-Key": str(uuid.uuid4())}


@pytest.fixture(autouse=True)
def emptied(client: httpx.Client) -> Iterator[None]:
    yield
    for found in client.get(PATH, params={"pageSize": 1000}).json()["items"]:
        client.delete(f"{PATH}/{found['id']}")


def count(client: httpx.Client) -> int:
    total = client.get(PATH, params={"count": "exact"}).json()["pageInfo"]["totalItems"]
    assert isinstance(total, int)
    return total


def test_a_create_sent_twice_creates_once(client: httpx.Client, keyed: dict[str, str]) -> None:
    first = client.post(PATH, json={"total": 1}, headers=keyed)
    second = client.post(PATH, json={"total": 1}, headers=keyed)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.content == second.content
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"
    for name in ("location", "etag", "content-type"):
        assert first.headers[name] == second.headers[name]
    assert count(client) == 1


def test_a_patch_and_a_delete_sent_twice_act_once(client: httpx.Client) -> None:
    path = client.post(PATH, json={"total": 1}).headers["location"]
    patched = {"Idempotency-Key": str(uuid.uuid4()), "If-Match": '"1"'}
    versions = [client.patch(path, json={"total": 2}, headers=patched) for _ in range(2)]
    assert [answer.json()["version"] for answer in versions] == [2, 2]
    deleted = {"Idempotency-Key": str(uuid.uuid4())}
    answers = [client.delete(path, headers=deleted) for _ in range(2)]
    assert [(answer.status_code, answer.content) for answer in answers] == [(204, b"")] * 2


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", PATH, {"total": 2}),
        ("POST", f"{PATH}?x=1", {"total": 1}),
        ("PATCH", f"{PATH}/0190a9a0-0000-7000-8000-000000000000", {"total": 1}),
    ],
    ids=["other body", "other parameters", "other path"],
)
def test_a_key_used_for_another_request_is_refused(
    client: httpx.Client, keyed: dict[str, str], method: str, path: str, body: dict[str, int]
) -> None:
    client.post(PATH, json={"total": 1}, headers=keyed)
    refused = client.request(method, path, json=body, headers=keyed)
    assert (refused.status_code, refused.json()["code"]) == (422, "request.idempotency_mismatch")
    assert count(client) == 1


def test_a_refused_request_may_be_sent_again_under_its_key(
    client: httpx.Client, keyed: dict[str, str]
) -> None:
    other = client.post(PATH, json={"number": "7"}).headers["location"]
    assert client.post(PATH, json={"number": "7"}, headers=keyed).status_code == 409
    client.delete(other)
    assert client.post(PATH, json={"number": "7"}, headers=keyed).status_code == 201


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_a_bad_key_is_refused(client: httpx.Client, key: str) -> None:
    refused = client.post(PATH, json={"total": 1}, headers={"Idempotency-Key": key})
    assert refused.status_code == 400, refused.text
    assert [error["parameter"] for error in refused.json()["errors"]] == ["Idempotency-Key"]
    assert count(client) == 0


def test_a_key_given_twice_is_refused_and_a_long_one_taken(client: httpx.Client) -> None:
    twice = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    assert client.post(PATH, json={"total": 1}, headers=twice).status_code == 400
    longest = [(b"Idempotency-Key", uuid.uuid4().hex.encode() + b"\xff" * 223)]
    assert client.post(PATH, json={"total": 1}, headers=longest).status_code == 201


def test_keys_of_two_tenants_are_two_keys(
    admin: httpx.Client, other_admin: httpx.Client, owner_database: Database, tenant: Tenant,
    other_tenant: Tenant, keyed: dict[str, str],
) -> None:  # fmt: skip
    for client, whose in ((admin, tenant), (other_admin, other_tenant)):
        define(owner_database, whose, PAYMENT)
        made = client.post(PATH, json={"total": 1}, headers=keyed)
        assert "idempotency-replayed" not in made.headers
        assert count(client) == 1


def test_a_request_under_a_key_that_is_being_worked_on_is_told_so(
    client: httpx.Client, keyed: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import api.writes

    arrived = threading.Event()
    insert = api.writes.insert_record

    def slow(*given: Any, **named: Any) -> Any:
        built = insert(*given, **named)
        arrived.set()
        return statement(
            f"with made as ({built.text}) select made.*, pg_sleep(2) from made",
            built.params,
            lambda row: built.row(row[:3]),
        )

    monkeypatch.setattr("api.writes.insert_record", slow)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.post, PATH, json={"total": 1}, headers=keyed)
        assert arrived.wait(20)
        second = client.post(PATH, json={"total": 1}, headers=keyed)
        assert first.result().status_code == 201
    assert (second.status_code, second.json()["code"]) == (409, "request.in_flight")
    assert second.headers["retry-after"] == "1"
    assert count(client) == 1


def test_many_at_once_under_one_key_have_one_effect(
    client: httpx.Client, standing: Any, keyed: dict[str, str]
) -> None:
    """Whoever comes while another is at work is told so, and its retry gets the same answer."""

    def insist(_: int) -> httpx.Response:
        with standing.client() as own:
            while True:
                answer = own.post(PATH, json={"total": 5}, headers=keyed)
                if answer.status_code != 409:
                    return answer

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(insist, range(16)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1
    assert count(client) == 1


def test_an_answer_is_forgotten_after_a_day(
    client: httpx.Client, standing: Any, keyed: dict[str, str]
) -> None:
    client.post(PATH, json={"total": 1}, headers=keyed)
    with standing.owner.transaction() as tx:
        old = "update hubblewave.idempotency_keys set created_at = now() - interval '24 hours'"
        tx.run(statement(f"{old} where key = %s", (keyed["Idempotency-Key"],)))
    again = client.post(PATH, json={"total": 2}, headers=keyed)
    assert (again.status_code, again.json()["total"]) == (201, 2)
    assert count(client) == 2


def test_new_keys_take_expired_ones_away(
    owner_database: Database, app_database: Database, tenant: Tenant, other_tenant: Tenant
) -> None:
    answer = Kept(b"x" * 32, 201, {"etag": '"1"'}, "{}")
    for whose in (tenant, other_tenant):
        with app_database.transaction(whose.id) as tx:
            for number in range(25):
                tx.run(keep_answer(whose.id, f"old {number}", answer))
    with owner_database.transaction() as tx:
        age = "update hubblewave.idempotency_keys set created_at = now() - interval '2 days'"
        tx.run(statement(age))
    with app_database.transaction(tenant.id) as tx:
        tx.run(keep_answer(tenant.id, "new", answer))
        assert tx.one(answer_to(tenant.id, "new")) == answer
        assert tx.one(answer_to(tenant.id, "old 24")) is None
        assert tx.one(answer_to(other_tenant.id, "old 1")) is None
    with owner_database.transaction() as tx:
        rows = "select tenant_id, count(*) from hubblewave.idempotency_keys group by 1"
        assert dict(tx.all(statement(rows))) == {tenant.id: 6, other_tenant.id: 25}


def test_no_tenant_reads_what_another_was_answered(
    app_database: Database, tenant: Tenant, other_tenant: Tenant
) -> None:
    with app_database.transaction(tenant.id) as tx:
        tx.run(keep_answer(tenant.id, "k", Kept(b"x" * 32, 201, {}, "secret")))
    with app_database.transaction(other_tenant.id) as tx:
        assert tx.one(answer_to(tenant.id, "k")) is None
        assert tx.one(statement("select count(*) from hubblewave.idempotency_keys")) == (0,)

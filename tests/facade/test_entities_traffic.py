"""Changing a definition while the API serves traffic loses no request and no record."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from hubblewave_pipelines.storage.tenants import Tenant
from tests.facade.conftest import serving

ENTITIES = "/api/v1/entities"
COMPANY = {"name": "Company", "pluralName": "Companies", "fields": []}
STABLE = {"name": "code", "type": "text", "required": True}


def contact(*fields: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": "Contact", "pluralName": "Contacts", "fields": [STABLE, *fields], **more}


COMPANY_OF = {"name": "company", "type": "manyToOne", "targetEntity": "Company"}
STATE = {"name": "state", "type": "enum", "enum": ["a"], "default": "a", "required": True}
# Each changes the table under the clients' feet, and none takes away what they use.
CHANGES = [
    contact({"name": "note", "type": "text"}),
    contact({"name": "note", "type": "longtext"}, STATE),
    contact(STATE, {"name": "serial", "type": "text", "unique": True}),
    contact({**STATE, "enum": ["a", "b"]}, {"name": "serial", "type": "text"}),
    contact(STATE, relationships=[COMPANY_OF]),
    contact(STATE, relationships=[{**COMPANY_OF, "onDelete": "setNull"}]),
    contact(relationships=[{"name": "firms", "type": "manyToMany", "targetEntity": "Company"}]),
    {**contact(), "fields": [{**STABLE, "unique": True, "maxLength": 50}]},
    {**contact(), "fields": [{**STABLE, "required": False}]},
]


def test_no_request_is_lost_while_definitions_change(
    admin: httpx.Client,
    connect: Callable[..., httpx.Client],
    key_for: Callable[..., str],
    tenant: Tenant,
) -> None:
    for body in (COMPANY, contact()):
        assert admin.post(ENTITIES, json=body).status_code == 201
    over = threading.Event()
    clients = [connect(key_for(tenant, "write")) for _ in range(4)]

    def work(number: int) -> tuple[list[str], list[str]]:
        """Create, read, patch, list until it is over: (ids made, what went wrong)."""
        client, ids, wrong = clients[number], [], []

        def ask(method: str, path: str, status: int, **more: Any) -> httpx.Response:
            answer = client.request(method, f"/api/v1/contacts{path}", **more)
            if answer.status_code != status:
                wrong.append(f"{method} {path}: {answer.status_code} {answer.text}")
            return answer

        turn = 0
        while not over.is_set() or turn < 3:
            turn += 1
            created = ask("POST", "", 201, json={"code": f"{number}-{turn}"})
            if created.status_code == 201:
                id = created.json()["id"]
                ids.append(id)
                ask("GET", f"/{id}", 200)
                etag = {"If-Match": created.headers["etag"]}
                ask("PATCH", f"/{id}", 200, json={"code": f"{number}-{turn}x"}, headers=etag)
            ask("GET", "", 200, params={"pageSize": 5, "sort": "-createdAt"})
        return ids, wrong

    with ThreadPoolExecutor(len(clients)) as threads:
        working = [threads.submit(work, number) for number in range(len(clients))]
        try:
            for body in CHANGES:
                answer = admin.put(f"{ENTITIES}/Contact", json=body, timeout=60)
                assert answer.status_code == 200, answer.text
        finally:
            over.set()
        results = [done.result(60) for done in working]
    assert [line for _, wrong in results for line in wrong] == []
    made = {id for ids, _ in results for id in ids}
    found: set[str] = set()
    cursor: dict[str, Any] = {}
    while True:
        page = admin.get("/api/v1/contacts", params={"pageSize": 500, **cursor}).json()
        found |= {item["id"] for item in page["items"]}
        if not page["pageInfo"]["hasNextPage"]:
            break
        cursor = {"after": page["pageInfo"]["endCursor"]}
    assert found == made


def test_no_write_is_lost_while_a_field_changes_its_type(
    admin: httpx.Client,
    connect: Callable[..., httpx.Client],
    key_for: Callable[..., str],
    tenant: Tenant,
) -> None:
    """Every acknowledged value is there under the last type, and every version in the history."""

    def counted(kind: str) -> dict[str, Any]:
        return contact({"name": "count", "type": kind})

    assert admin.post(ENTITIES, json=counted("integer")).status_code == 201
    idle = [{"code": "idle", "count": number} for number in range(500)]
    assert admin.post("/api/v1/contacts/bulk", json={"items": idle}).status_code == 200
    over = threading.Event()
    clients = [connect(key_for(tenant, "write")) for _ in range(3)]

    def work(client: httpx.Client) -> tuple[str, int, list[str]]:
        """Count a record up, one by one and in bulk: (its id, how far, what went wrong)."""
        wrong: list[str] = []
        record = client.post("/api/v1/contacts", json={"code": "busy", "count": 0}).json()["id"]
        number = 0
        while not over.is_set() or number < 5:
            number += 1
            change = {"id": record, "set": {"count": number}}
            answer = (
                client.patch(f"/api/v1/contacts/{record}", json={"count": number})
                if number % 2
                else client.patch("/api/v1/contacts/bulk", json={"items": [change]})
            )
            shown = client.get(f"/api/v1/contacts/{record}")
            if answer.status_code != 200 or float(shown.json()["count"]) != number:
                wrong.append(f"{number}: {answer.status_code} {answer.text} {shown.text}")
        return record, number, wrong

    with ThreadPoolExecutor(len(clients)) as threads:
        working = [threads.submit(work, client) for client in clients]
        try:
            for kind in ("decimal", "number", "integer", "text"):
                answer = admin.put(f"{ENTITIES}/Contact", json=counted(kind), timeout=60)
                assert answer.status_code == 200, answer.text
                assert any("from here on" in said for said in answer.json()["warnings"])
                if kind == "integer":
                    over.set()
                    results = [done.result(60) for done in working]
        finally:
            over.set()
    assert [line for _, _, wrong in results for line in wrong] == []
    for record, number, _ in results:
        path = f"/api/v1/contacts/{record}"
        assert admin.get(path).json()["count"] == str(number)
        events = admin.get(f"{path}/history", params={"pageSize": 4}).json()["items"]
        assert [change["to"] for event in events for change in event["changes"]] == [
            str(n) for n in range(number, number - 4, -1)
        ]
        assert admin.get(path).json()["version"] == number + 1
        assert admin.post(f"{path}/restore", json={"version": 2}).json()["count"] == "1"
    texts = {"filter[code]": "idle", "pageSize": 1000, "sort": "id"}
    items = admin.get("/api/v1/contacts", params=texts).json()["items"]
    assert [item["count"] for item in items] == [str(number) for number in range(500)]
    assert {item["version"] for item in items} == {1}


def test_a_change_is_visible_to_the_very_next_request_of_another_process(
    admin: httpx.Client,
    api_settings: Any,
) -> None:
    with serving(api_settings) as url:
        second = httpx.Client(base_url=url, headers=admin.headers)
        assert admin.post(ENTITIES, json=contact()).status_code == 201
        assert second.post("/api/v1/contacts", json={"code": "1"}).status_code == 201
        assert admin.put(f"{ENTITIES}/Contact", json=contact(STATE)).status_code == 200
        assert second.get("/api/v1/contacts").json()["items"][0]["state"] == "a"

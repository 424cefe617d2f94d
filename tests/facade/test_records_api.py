"""The records of an entity over HTTP: create, read, list, replace, patch, delete."""

import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from hubblewave_pipelines.core.entity import Catalog
from hubblewave_pipelines.storage.database import Database
from hubblewave_pipelines.storage.ddl import define
from hubblewave_pipelines.storage.tenants import Tenant

CUSTOMER = {
    "name": "Customer",
    "pluralName": "Customers",
    "fields": [
        {"name": "name", "type": "text", "required": True, "maxLength": 50},
        {"name": "email", "type": "email", "unique": True},
        {"name": "tier", "type": "enum", "enum": ["gold", "silver"], "default": "silver"},
    ],
}
ORDER = {
    "name": "Order",
    "pluralName": "Orders",
    "fields": [
        {"name": "number", "type": "text", "required": True, "unique": True},
        {"name": "total", "type": "decimal", "min": "0"},
        {"name": "score", "type": "number", "computed": True},
    ],
    "relationships": [{"name": "customer", "type": "manyToOne", "targetEntity": "Customer"}],
}
ABSENT = "0190a9a0-0000-7000-8000-000000000000"
AT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"


@pytest.fixture
def catalog(owner_database: Database, tenant: Tenant) -> Catalog:
    return define(owner_database, tenant, CUSTOMER, ORDER)


@pytest.fixture
def client(admin: httpx.Client, catalog: Catalog) -> httpx.Client:
    return admin


def create(client: httpx.Client, plural: str, **body: Any) -> dict[str, Any]:
    answer = client.post(f"/api/v1/{plural}", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def test_a_record_is_created_read_changed_and_deleted(client: httpx.Client) -> None:
    answer = client.post("/api/v1/customers", json={"name": "Ada", "email": "ada@example.org"})
    assert answer.status_code == 201
    assert answer.headers["etag"] == '"1"'
    path = answer.headers["location"]
    made = answer.json()
    assert path == f"/api/v1/customers/{made['id']}"
    assert made | {"name": "Ada", "email": "ada@example.org", "tier": "silver"} == made
    assert list(made) == ["id", "createdAt", "updatedAt", "version", "name", "email", "tier"]

    assert client.get(path).json() == made
    patched = client.patch(path, json={"tier": "gold"})
    assert patched.headers["etag"] == '"2"'
    assert patched.json() | {"name": "Ada", "tier": "gold", "version": 2} == patched.json()
    assert patched.json()["updatedAt"] > made["updatedAt"]
    replaced = client.put(path, json={"name": "Ada Lovelace"}).json()
    assert replaced | {"email": None, "tier": "silver", "version": 3} == replaced

    assert client.delete(path).status_code == 204
    assert client.get(path).status_code == 404
    assert client.delete(path).status_code == 404


def test_a_replacement_gives_missing_fields_their_default(client: httpx.Client) -> None:
    made = create(client, "customers", name="Ada", tier="gold")
    replaced = client.put(f"/api/v1/customers/{made['id']}", json={"name": "Ada"})
    assert replaced.json()["tier"] == "silver"


def test_times_are_utc_with_microseconds(client: httpx.Client) -> None:
    made = create(client, "customers", name="Ada")
    assert re.fullmatch(AT, made["createdAt"])


def test_a_write_with_a_stale_version_changes_nothing(client: httpx.Client) -> None:
    path = f"/api/v1/customers/{create(client, 'customers', name='Ada')['id']}"
    assert client.patch(path, json={"name": "B"}, headers={"If-Match": '"1"'}).status_code == 200
    for method, body in (("PATCH", {"name": "C"}), ("PUT", {"name": "C"}), ("DELETE", None)):
        stale = client.request(method, path, json=body, headers={"If-Match": '"1"'})
        assert stale.status_code == 412, stale.text
        assert stale.json()["code"] == "record.version_conflict"
    assert client.get(path).json()["name"] == "B"
    assert client.patch(path, json={"name": "D"}, headers={"If-Match": "*"}).status_code == 200
    assert client.delete(path, headers={"If-Match": '"9", "3"'}).status_code == 204


@pytest.mark.parametrize("tag", ["1", '"1', '"1" "2"', "W/1", '""x'])
def test_a_malformed_if_match_is_refused(client: httpx.Client, tag: str) -> None:
    path = f"/api/v1/customers/{create(client, 'customers', name='Ada')['id']}"
    assert client.patch(path, json={"name": "B"}, headers={"If-Match": tag}).status_code == 400


def test_a_weak_etag_never_lets_a_write_happen(client: httpx.Client) -> None:
    path = f"/api/v1/customers/{create(client, 'customers', name='Ada')['id']}"
    assert client.patch(path, json={"name": "B"}, headers={"If-Match": 'W/"1"'}).status_code == 412


def test_a_reader_that_has_the_version_gets_no_body(client: httpx.Client) -> None:
    path = f"/api/v1/customers/{create(client, 'customers', name='Ada')['id']}"
    same = client.get(path, headers={"If-None-Match": '"1"'})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", '"1"')
    assert client.get(path, headers={"If-None-Match": '"7"'}).status_code == 200


def test_put_creates_under_a_given_id_only_when_asked_to(client: httpx.Client) -> None:
    path = f"/api/v1/customers/{ABSENT}"
    assert client.put(path, json={"name": "Ada"}).status_code == 404
    made = client.put(path, json={"name": "Ada"}, headers={"If-None-Match": "*"})
    assert (made.status_code, made.headers["location"]) == (201, path)
    again = client.put(path, json={"name": "Bob"}, headers={"If-None-Match": "*"})
    assert again.status_code == 412
    assert client.get(path).json()["name"] == "Ada"


def test_a_taken_unique_value_names_its_field(client: httpx.Client) -> None:
    create(client, "customers", name="Ada", email="ada@example.org")
    taken = client.post("/api/v1/customers", json={"name": "Bob", "email": "ada@example.org"})
    assert taken.status_code == 409
    assert taken.json()["code"] == "record.not_unique"
    assert [e["pointer"] for e in taken.json()["errors"]] == ["#/email"]
    other = create(client, "customers", name="Bob")
    patched = client.patch(f"/api/v1/customers/{other['id']}", json={"email": "ada@example.org"})
    assert patched.status_code == 409


def test_a_reference_must_name_a_record(client: httpx.Client) -> None:
    missing = client.post("/api/v1/orders", json={"number": "1", "customerId": ABSENT})
    assert missing.status_code == 422
    assert [e["pointer"] for e in missing.json()["errors"]] == ["#/customerId"]


def test_a_referenced_record_stays(client: httpx.Client) -> None:
    customer = create(client, "customers", name="Ada")
    order = create(client, "orders", number="1", customerId=customer["id"])
    assert order["customerId"] == customer["id"]
    refused = client.delete(f"/api/v1/customers/{customer['id']}")
    assert refused.status_code == 409
    assert refused.json()["code"] == "record.referenced"
    assert "Order" in refused.json()["detail"]


def test_all_faults_of_a_body_are_named_at_once(client: httpx.Client) -> None:
    body = {"name": "x" * 51, "email": "nobody", "tier": "lead", "nmae": 1, "id": ABSENT}
    refused = client.post("/api/v1/customers", json=body)
    assert refused.status_code == 422
    found = {e["pointer"]: e["code"] for e in refused.json()["errors"]}
    assert found == {
        "#/name": "length",
        "#/email": "format",
        "#/tier": "enum",
        "#/nmae": "unknown",
        "#/id": "read_only",
    }


def test_computed_fields_are_read_only(client: httpx.Client) -> None:
    refused = client.post("/api/v1/orders", json={"number": "1", "score": 1})
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (422, "read_only")


def test_decimals_keep_their_digits(client: httpx.Client) -> None:
    made = create(client, "orders", number="1", total="12.500000000000000000001")
    assert made["total"] == "12.500000000000000000001"


def test_a_list_shows_the_fields_asked_for(client: httpx.Client) -> None:
    create(client, "customers", name="Ada")
    listed = client.get("/api/v1/customers", params={"fields": "tier,name"})
    assert listed.json()["items"] == [{"tier": "silver", "name": "Ada"}]
    one = client.get(
        f"/api/v1/customers/{client.get('/api/v1/customers').json()['items'][0]['id']}"
    )
    shown = client.get(str(one.url), params={"fields": "name"})
    assert shown.json() == {"name": "Ada"}


def test_pages_by_number_say_where_they_are(client: httpx.Client) -> None:
    for name in "abcde":
        create(client, "customers", name=name)
    answer = client.get("/api/v1/customers", params={"page": 2, "pageSize": 2, "count": "exact"})
    info = answer.json()["pageInfo"]
    assert [item["name"] for item in answer.json()["items"]] == ["c", "d"]
    cursors = {"startCursor", "endCursor"}
    assert {k: v for k, v in info.items() if k not in cursors} == {
        "currentPage": 2,
        "pageSize": 2,
        "totalPages": 3,
        "totalItems": 5,
        "hasNextPage": True,
        "hasPreviousPage": True,
    }


def test_pages_by_cursor_go_both_ways(client: httpx.Client) -> None:
    for name in "abcde":
        create(client, "customers", name=name)

    def page(**where: Any) -> tuple[str, dict[str, Any]]:
        answer = client.get("/api/v1/customers", params={"pageSize": 2, "sort": "-name", **where})
        found = answer.json()
        return "".join(item["name"] for item in found["items"]), found["pageInfo"]

    first, info = page()
    assert (first, info["totalItems"], info["hasPreviousPage"]) == ("ed", None, False)
    second, info = page(after=info["endCursor"])
    assert (second, info["currentPage"], info["hasNextPage"]) == ("cb", None, True)
    third, last = page(after=info["endCursor"])
    assert (third, last["hasNextPage"]) == ("a", False)
    back, _ = page(before=last["startCursor"])
    assert back == "cb"
    front, info = page(before=info["startCursor"])
    assert (front, info["hasPreviousPage"], info["hasNextPage"]) == ("ed", False, True)


def test_filters_choose_records(client: httpx.Client) -> None:
    for name, tier in (("Ada", "gold"), ("Bob", "silver"), ("50% off_", "gold")):
        create(client, "customers", name=name, tier=tier)

    def names(**params: str) -> list[str]:
        answer = client.get("/api/v1/customers", params=params)
        assert answer.status_code == 200, answer.text
        return [item["name"] for item in answer.json()["items"]]

    assert names(**{"filter[tier]": "gold"}) == ["Ada", "50% off_"]
    assert names(**{"filter[tier][ne]": "gold"}) == ["Bob"]
    assert names(**{"filter[name][in]": "Ada,Bob"}) == ["Ada", "Bob"]
    assert names(**{"filter[name][contains]": "%"}) == ["50% off_"]
    assert names(**{"filter[name][icontains]": "ADA"}) == ["Ada"]
    assert names(**{"filter[name][startsWith]": "B"}) == ["Bob"]
    assert names(**{"filter[email][isNull]": "false"}) == []
    where = '{"or":[{"name":"Bob"},{"not":{"tier":{"eq":"silver"}}}]}'
    assert names(where=where, sort="name") == ["50% off_", "Ada", "Bob"]


def test_an_estimated_count_is_exact_for_small_lists(client: httpx.Client) -> None:
    create(client, "customers", name="Ada")
    answer = client.get("/api/v1/customers", params={"count": "estimated"})
    assert answer.json()["pageInfo"]["totalItems"] == 1


def test_a_large_estimated_count_is_the_planners(
    client: httpx.Client, catalog: Catalog, owner_database: Database
) -> None:
    customer = catalog.named("Customer")
    assert customer is not None
    table = f"{customer.schema}.{customer.table}"
    name = customer.fields_by_name["name"].column
    with owner_database.connect() as connection:
        rows = f"insert into {table} ({name}) select 'n' || i from generate_series(1, 20000) i"
        connection.execute(rows.encode())
        connection.execute(f"analyze {table}".encode())
    params = {"count": "estimated", "pageSize": 1, "filter[name][startsWith]": "n"}
    answer = client.get("/api/v1/customers", params=params)
    assert answer.status_code == 200, answer.text
    assert 10_000 < answer.json()["pageInfo"]["totalItems"] < 30_000


def test_the_scope_read_does_not_write(
    client: httpx.Client, connect: Callable[..., httpx.Client], key_for: Any, tenant: Tenant
) -> None:
    reader = connect(key_for(tenant, "read"))
    assert reader.get("/api/v1/customers").status_code == 200
    refused = reader.post("/api/v1/customers", json={"name": "Ada"})
    assert (refused.status_code, refused.json()["code"]) == (403, "auth.forbidden")


def test_another_tenant_knows_neither_entity_nor_record(
    client: httpx.Client,
    other_admin: httpx.Client,
    owner_database: Database,
    other_tenant: Tenant,
) -> None:
    made = create(client, "customers", name="Ada")
    create(client, "orders", number="1")
    assert other_admin.get("/api/v1/orders").status_code == 404
    define(owner_database, other_tenant, CUSTOMER, ORDER)
    path = f"/api/v1/customers/{made['id']}"
    assert other_admin.get("/api/v1/customers").json()["items"] == []
    for method, body in (("GET", None), ("PATCH", {"name": "B"}), ("DELETE", None)):
        assert other_admin.request(method, path, json=body).status_code == 404
    foreign = other_admin.post("/api/v1/orders", json={"number": "1", "customerId": made["id"]})
    assert foreign.status_code == 422
    cursor = client.get("/api/v1/customers").json()["pageInfo"]["endCursor"]
    tampered = other_admin.get("/api/v1/customers", params={"after": cursor})
    assert tampered.json()["code"] == "request.cursor_mismatch"
    assert client.get(path).json()["name"] == "Ada"


def test_records_keep_who_wrote_them(
    client: httpx.Client, catalog: Catalog, owner_database: Database
) -> None:
    create(client, "customers", name="Ada")
    customer = catalog.named("Customer")
    assert customer is not None
    with owner_database.connect() as connection:
        table = f"{customer.schema}.{customer.table}"
        found = connection.execute(
            f"select from hubblewave.api_keys k join {table} r "
            "on k.actor_id = r.created_by and k.actor_id = r.updated_by".encode()
        ).fetchall()
    assert len(found) == 1

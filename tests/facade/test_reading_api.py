"""Reading over HTTP: relations, expansion, search, aggregates; every example of the reference."""

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

CUSTOMER = {
    "name": "Customer",
    "pluralName": "Customers",
    "fields": [
        {"name": "name", "type": "text", "required": True},
        {"name": "email", "type": "email"},
        {"name": "tier", "type": "enum", "enum": ["pro", "free"]},
        {"name": "data", "type": "json"},
    ],
}
TAG = {"name": "Tag", "pluralName": "Tags", "fields": [{"name": "label", "type": "text"}]}
ORDER = {
    "name": "Order",
    "pluralName": "Orders",
    "fields": [
        {"name": "number", "type": "text", "required": True},
        {"name": "status", "type": "text"},
        {"name": "total", "type": "decimal"},
        {"name": "weight", "type": "number"},
        {"name": "placedOn", "type": "date"},
    ],
    "relationships": [
        {"name": "customer", "type": "manyToOne", "targetEntity": "Customer"},
        {"name": "tags", "type": "manyToMany", "targetEntity": "Tag"},
    ],
}
BACK = {
    "Customer": {"name": "orders", "type": "oneToMany", "targetEntity": "Order"},
    "Tag": {"name": "orders", "type": "manyToMany", "targetEntity": "Order", "field": "tags"},
}
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "records.md"
ABSENT = "0190a9a0-0000-7000-8000-000000000000"
Ids = dict[str, str]


def define_all(client: httpx.Client) -> None:
    for body in (CUSTOMER, TAG, ORDER):
        assert client.post("/api/v1/entities", json=body).status_code == 201
    for body in (CUSTOMER, TAG):
        changed = {**body, "relationships": [BACK[str(body["name"])]]}
        answer = client.put(f"/api/v1/entities/{body['name']}", json=changed)
        assert answer.status_code == 200, answer.text


@pytest.fixture(scope="module")
def client(standing: Any) -> Iterator[httpx.Client]:
    with standing.client() as client:
        define_all(client)
        yield client


@pytest.fixture(scope="module")
def ids(client: httpx.Client, standing: Any) -> Ids:
    """Three customers, four orders and a tag, by name."""
    found: Ids = {}

    def make(key: str, plural: str, **body: Any) -> None:
        answer = client.post(f"/api/v1/{plural}", json=body)
        assert answer.status_code == 201, answer.text
        found[key] = answer.json()["id"]

    make("Ada", "customers", name="Ada", email="ada@example.org", tier="pro")
    make("Bob", "customers", name="Bob", tier="free")
    make("Cyd", "customers", name="Cyd")
    for number, status, total, day, who in [
        ("1", "paid", "60", "2026-01-05", "Ada"),
        ("2", "paid", "20.50", "2026-02-05", "Ada"),
        ("3", "open", "5", "2026-01-07", "Bob"),
        ("4", "paid", None, None, None),
    ]:
        owner = None if who is None else found[who]
        more = {"status": status, "total": total, "placedOn": day, "customerId": owner}
        make(number, "orders", number=number, **more)
    make("urgent", "tags", label="urgent")
    make("gone", "orders", number="0", status="paid", total="11")
    assert client.delete(f"/api/v1/orders/{found['gone']}").status_code == 204
    with standing.owner.connect() as connection:
        tables = connection.execute(
            "select schemaname, tablename from pg_tables where tablename like 'l\\_%'"
        ).fetchall()
        for schema, table in tables:
            for number in ("1", "3"):
                text = f"insert into {schema}.{table} values (%s, %s)"
                connection.execute(text.encode(), (found[number], found["urgent"]))
    return found


def items(client: httpx.Client, path: str, **params: Any) -> list[dict[str, Any]]:
    answer = client.get(f"/api/v1/{path}", params=params)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


def numbers(client: httpx.Client, **params: Any) -> str:
    return "".join(item["number"] for item in items(client, "orders", sort="number", **params))


def refused(client: httpx.Client, path: str, status: int = 400) -> dict[str, Any]:
    answer = client.get(f"/api/v1/{path}")
    assert answer.status_code == status, answer.text
    problem: dict[str, Any] = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    return problem


def examples() -> Iterator[tuple[str, str, str]]:
    """(method, path, body) of every example of the page."""
    for block in re.findall(r"```http\n(.*?)```", PAGE.read_text(), re.DOTALL):
        for example in re.split(r"\n(?=GET |POST )", block.strip()):
            line, _, body = example.partition("\n")
            method, _, path = line.partition(" ")
            yield method, path, body


@pytest.mark.parametrize(("method", "path", "body"), list(examples()), ids=lambda v: v[:70])
def test_an_example_of_the_reference_finds_something(
    client: httpx.Client, ids: Ids, method: str, path: str, body: str
) -> None:
    path = path.replace("{customerId}", ids["Ada"]).replace("{orderId}", ids["1"])
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    path = path.replace("2026-01-31T08:30:00Z", now)  # when these records were there
    headers = {"Content-Type": "application/json"} if body else {}
    answer = client.request(method, path, content=body or None, headers=headers)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found.get("items", [found]), f"{path} finds nothing"


def test_a_path_filters_by_the_related_record(client: httpx.Client, ids: Ids) -> None:
    assert numbers(client, **{"filter[customer.tier]": "pro"}) == "12"
    assert numbers(client, **{"filter[customer][tier][eq]": "pro"}) == "12"
    assert numbers(client, **{"filter[customer.tier][ne]": "pro"}) == "34"
    assert numbers(client, **{"filter[customer.tier][isNull]": "true"}) == "4"
    assert numbers(client, **{"filter[tags][some][label]": "urgent"}) == "13"
    assert numbers(client, **{"filter[customer.orders][some][number]": "2"}) == "12"


def test_related_records_appear_where_they_are_asked_for(client: httpx.Client, ids: Ids) -> None:
    params = {"fields": "number,customer.name", "expand": "customer,tags(fields=label)"}
    first, *_, last = items(client, "orders", sort="number", **params)
    page = {"items": [{"label": "urgent"}], "pageInfo": {"pageSize": 20, "hasNextPage": False}}
    assert first == {"number": "1", "customer": {"name": "Ada"}, "tags": page}
    assert last["customer"] is None
    assert last["tags"]["items"] == []
    expand = "orders(pageSize=1;sort=-total;fields=number)"
    ada = client.get(f"/api/v1/customers/{ids['Ada']}", params={"expand": expand})
    page = {"items": [{"number": "1"}], "pageInfo": {"pageSize": 1, "hasNextPage": True}}
    assert ada.json()["orders"] == page
    assert "etag" not in ada.headers


def test_a_related_list_is_a_list(client: httpx.Client, ids: Ids) -> None:
    path = f"customers/{ids['Ada']}/orders"
    answer = client.get(f"/api/v1/{path}", params={"pageSize": 1, "count": "exact"}).json()
    assert [item["number"] for item in answer["items"]] == ["1"]
    assert (answer["pageInfo"]["totalItems"], answer["pageInfo"]["hasNextPage"]) == (2, True)
    cursor = answer["pageInfo"]["endCursor"]
    assert [item["number"] for item in items(client, path, after=cursor)] == ["2"]
    other = refused(client, f"customers/{ids['Bob']}/orders?after={cursor}")
    assert other["code"] == "request.cursor_mismatch"
    assert items(client, f"customers/{ids['Cyd']}/orders") == []
    one = client.get(f"/api/v1/orders/{ids['1']}/customer")
    assert (one.json()["name"], one.headers["etag"]) == ("Ada", '"1"')


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("customers/{Ada}/nothing", "nothing at"),
        ("customers/{Ada}/name", "nothing at"),
        (f"customers/{ABSENT}/orders", "no Customer"),
        (f"orders/{ABSENT}/customer", "no Order"),
        ("orders/x/customer", "no Order"),
        ("orders/{4}/customer", "has no customer"),
        ("customers/{Ada}/orders/x/y", "nothing at"),
        ("nothings/aggregate?aggregate[count]=*", "nothing at"),
    ],
)
def test_what_is_not_there_is_not_found(
    client: httpx.Client, ids: Ids, path: str, says: str
) -> None:
    for name, record_id in ids.items():
        path = path.replace(f"{{{name}}}", record_id)
    assert says in refused(client, path, 404)["detail"]


def deep(levels: int) -> str:
    return "(expand=orders(expand=customer" * levels + "))" * levels


@pytest.mark.parametrize(
    "query",
    [
        "orders?fields=number,customer.name",
        "orders?fields=number.x",
        "orders?fields=customer&expand=customer",
        "orders?expand=",
        "orders?expand=custmer",
        "orders?expand=number",
        "orders?expand=customer.orders.customer.orders",
        "orders?expand=customer" + deep(5),
        "orders?expand=customer(",
        "orders?expand=customer)",
        "orders?expand=customer(fields=name",
        "orders?expand=customer(fields)",
        "orders?expand=customer(fields=nme)",
        "orders?expand=customer(pageSize=5)",
        "orders?expand=tags(pageSize=0)",
        "orders?expand=tags(pageSize=1001)",
        "orders?expand=tags(pageSize=x)",
        "orders?expand=tags(size=1)",
        "orders?expand=tags(sort=nme)",
        "orders?expand=tags(where=x)",
        "orders?expand=tags(where={})&expand=tags",
        "orders?expand=tags(pageSize=1;pageSize=2)",
        "orders?expand=tags(pageSize=1),tags(pageSize=2)",
        "orders?expand=tags(fields=label)&fields=number,tags.label",
        "orders?expand=tags(pageSize=1000)&pageSize=1000",
        "orders?expand=customer&expand=tags",
        "orders?filter[customer]=x",
        "orders?filter[customer][eq]=x",
        "orders?filter[customer.nme]=x",
        "orders?filter[custmer.name]=x",
        "orders?filter[number.x]=x",
        "orders?filter[tags]=x",
        "orders?filter[tags][eq]=x",
        "orders?filter[tags][some]=x",
        "orders?filter[tags][all][label]=x",
        "orders?filter[tags.label]=x",
        "orders?filter[tags][some][label][eq][x]=x",
        "orders?filter[customer.data]=x",
        "orders?filter[customer.id]=x",
        "orders?filter[" + "customer.orders][some][" * 9 + "number]=x",
        "orders?filter[" + "customer." * 500 + "name]=x",
        'orders?where={"tags":"x"}',
        'orders?where={"tags":{}}',
        'orders?where={"tags":{"most":{}}}',
        'orders?where={"tags":{"some":[]}}',
        'orders?where={"tags":{"some":null}}',
        'orders?where={"customer":"x"}',
        'orders?where={"customer":null}',
        'orders?where={"customer.tags":{"some":{}}}',
        "orders?where=" + '{"customer":{"orders":{"some":' * 5 + "{}" + "}}}" * 5,
        'orders?where={"number":{"\\ud800":1}}',
        'orders?where={"\\ud800":1}',
        'orders?where={"number":"\\u0000"}',
        "orders?sort=tags.label",
        "orders?sort=customer",
        "orders?sort=customer.data",
        "orders?sort=customer.name.nullsSecond",
        "orders?sort=customer.name,-customer.name",
        "orders?q=",
        "orders?q=%20",
        "orders?q=%00",
        "orders?q=" + "x" * 201,
        "orders?q=" + "x+" * 11,
        "orders?aggregate[count]=*",
        "orders/aggregate",
        "orders/aggregate?aggregate[sum]=number",
        "orders/aggregate?aggregate[count]=*&groupBy=tags.label",
        "orders/aggregate?aggregate[count]=*&expand=tags",
        "orders/aggregate?aggregate[count]=*&sort=sum.total",
        "orders/aggregate?aggregate[count]=*&page=100000&pageSize=1000",
    ],
    ids=lambda query: query[:60],
)
def test_a_bad_reading_is_refused_with_its_place(client: httpx.Client, query: str) -> None:
    problem = refused(client, query)
    assert all(error["parameter"] and error["detail"] for error in problem["errors"])


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ([], "#"),
        ({"pageSize": "x"}, "#/pageSize"),
        ({"pageSize": 0}, "#/pageSize"),
        ({"pageSize": True}, "#/pageSize"),
        ({"pageSize": 1e3}, "#/pageSize"),
        ({"page": 10**30}, "#/page"),
        ({"page/size": 1}, "#/page~1size"),
        ({"sort": 1}, "#/sort"),
        ({"sort": [1]}, "#/sort"),
        ({"sort": ["nme"]}, "#/sort"),
        ({"fields": {}}, "#/fields"),
        ({"fields": [None]}, "#/fields"),
        ({"expand": {"customer": 1}}, "#/expand"),
        ({"expand": {"tags": {"pageSize": [1]}}}, "#/expand"),
        ({"expand": {"tags": {"sort": [1]}}}, "#/expand"),
        ({"expand": [1]}, "#/expand"),
        ({"where": []}, "#/where"),
        ({"where": {"nme": 1}}, "#/where"),
        ({"filter": {"total": {"gt": "x"}}}, "#/filter"),
        ({"q": 1}, "#/q"),
        ({"count": "all"}, "#/count"),
        ({"count": 1}, "#/count"),
        ({"after": 1}, "#/after"),
    ],
    ids=str,
)
def test_a_bad_query_body_is_refused_with_its_place(
    client: httpx.Client, body: Any, pointer: str
) -> None:
    answer = client.post("/api/v1/orders/query", json=body)
    assert answer.status_code == 400, answer.text
    assert pointer in [error["pointer"] for error in answer.json()["errors"]]


def test_an_expansion_that_is_missing_is_named(client: httpx.Client) -> None:
    problem = refused(client, "orders?fields=customer.name")
    assert "add expand=customer" in problem["detail"]
    assert problem["errors"][0]["parameter"] == "fields"


def test_a_query_by_body_is_the_query_by_address(client: httpx.Client, ids: Ids) -> None:
    body = {"filter": {"customer.tier": "pro"}, "sort": "-number", "pageSize": 1, "count": "exact"}
    by_body = client.post("/api/v1/orders/query", json=body)
    given = {"filter[customer.tier]": "pro", "sort": "-number", "pageSize": 1, "count": "exact"}
    by_address = client.get("/api/v1/orders", params=given)
    assert by_body.json()["items"] == by_address.json()["items"] != []
    place = {"after": by_body.json()["pageInfo"]["endCursor"]}
    rest = client.post("/api/v1/orders/query", json=body | place).json()
    assert [item["number"] for item in rest["items"]] == ["1"]
    allowed = client.get("/api/v1/orders/query")
    assert (allowed.status_code, allowed.headers["allow"]) == (405, "POST")


def test_an_overflowing_sum_is_no_server_error(client: httpx.Client, ids: Ids) -> None:
    made = [
        client.post("/api/v1/orders", json={"number": "x", "weight": 1.7e308}).json()["id"]
        for _ in range(2)
    ]
    answer = client.get("/api/v1/orders/aggregate?aggregate[sum]=weight")
    for record_id in made:
        client.delete(f"/api/v1/orders/{record_id}")
    assert answer.status_code == 422, answer.text


def test_no_reading_reaches_another_tenant(
    connect: Callable[..., httpx.Client], admin: httpx.Client, other_admin: httpx.Client
) -> None:
    made: dict[str, str] = {}
    for client in (admin, other_admin):
        define_all(client)
    made["customer"] = admin.post("/api/v1/customers", json={"name": "Ada"}).json()["id"]
    order = {"number": "1", "customerId": made["customer"]}
    made["order"] = admin.post("/api/v1/orders", json=order).json()["id"]
    assert admin.get(f"/api/v1/customers/{made['customer']}/orders").json()["items"]
    for path in (f"customers/{made['customer']}/orders", f"orders/{made['order']}/customer"):
        assert other_admin.get(f"/api/v1/{path}").status_code == 404
    for query in (
        "orders?expand=customer",
        f"orders?filter[customerId]={made['customer']}",
        f"orders?filter[customer.id]={made['customer']}",
        'customers?where={"orders":{"some":{}}}',
        "orders?sort=customer.name",
        "customers?q=ada",
    ):
        assert other_admin.get(f"/api/v1/{query}").json()["items"] == [], query
    counted = other_admin.get("/api/v1/orders/aggregate?aggregate[count]=*&groupBy=customer.name")
    assert counted.json()["items"] == []
    assert other_admin.post("/api/v1/orders/query", json={}).json()["items"] == []


def test_expressions_of_callers_never_reach_sql(client: httpx.Client, ids: Ids) -> None:
    where = json.dumps({"customer": {"name": "x'); drop table t; --"}})
    assert items(client, "orders", where=where) == []
    for name in ("c_x", "a0.id", "id; --", 'name" --'):
        for parameter in ("sort", "fields", "expand", "filter[{}]", "filter[customer.{}]"):
            given = {parameter: name} if "{" not in parameter else {parameter.format(name): "1"}
            assert client.get("/api/v1/orders", params=given).status_code == 400, (parameter, name)

"""GraphQL over a real socket: reads, pages, writes and what is refused, against REST's answers."""

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from graphql import (
    build_client_schema,
    get_introspection_query,
    validate_schema,
)

from api.graphql import engine
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage.database import Database, statement
from hubblewave_pipelines.storage.tenants import Tenant
from tests.facade.conftest import Connect, Standing, make_key, serving

CUSTOMER = {
    "name": "Customer",
    "pluralName": "Customers",
    "fields": [
        {"name": "name", "type": "text", "required": True},
        {"name": "email", "type": "email", "unique": True},
        {"name": "tier", "type": "enum", "enum": ["pro", "free"]},
    ],
}
TAG = {
    "name": "Tag",
    "pluralName": "Tags",
    "fields": [{"name": "label", "type": "text", "unique": True}],
}
ORDER = {
    "name": "Order",
    "pluralName": "Orders",
    "fields": [
        {"name": "number", "type": "text", "required": True},
        {"name": "total", "type": "decimal"},
        {"name": "placedOn", "type": "date"},
        {"name": "points", "type": "integer"},
        {"name": "extra", "type": "json"},
    ],
    "relationships": [
        {"name": "customer", "type": "manyToOne", "targetEntity": "Customer"},
        {"name": "tags", "type": "manyToMany", "targetEntity": "Tag"},
    ],
}
CUSTOMER_WITH_ORDERS = {
    **CUSTOMER,
    "relationships": [
        {"name": "orders", "type": "oneToMany", "targetEntity": "Order", "field": "customerId"}
    ],
}
Ask = Callable[..., dict[str, Any]]


def define(client: httpx.Client) -> None:
    for body in (CUSTOMER, TAG, ORDER):
        client.post("/api/v1/entities", json=body).raise_for_status()
    client.put("/api/v1/entities/Customer", json=CUSTOMER_WITH_ORDERS).raise_for_status()


@pytest.fixture(scope="module")
def shop(standing: Standing) -> Iterator[httpx.Client]:
    """Two customers, three orders of the first, one without a customer."""
    with standing.client() as admin:
        define(admin)
        ada, _ = (
            admin.post("/api/v1/customers", json=body).json()["id"]
            for body in (
                {"name": "Ada", "email": "ada@x.org", "tier": "pro"},
                {"name": "Bob", "email": "bob@x.org"},
            )
        )
        for number, total in (("A1", "10.50"), ("A2", "20.00"), ("A3", None)):
            body = {"number": number, "total": total, "customerId": ada, "placedOn": "2026-01-31"}
            admin.post("/api/v1/orders", json=body).raise_for_status()
        last = {"number": "Z", "points": 2**60, "extra": {"a": [1.5, 12345678901234567890]}}
        admin.post("/api/v1/orders", json=last).raise_for_status()
        yield admin


@pytest.fixture
def ask(shop: httpx.Client) -> Ask:
    return asking(shop)


def asking(client: httpx.Client) -> Ask:
    """Sends a document and returns the whole result."""

    def ask(query: str, variables: object = None, **more: object) -> dict[str, Any]:
        answer = client.post("/graphql", json={"query": query, "variables": variables, **more})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    return ask


def refused(found: dict[str, Any]) -> str:
    """The code of a request that was refused before anything was run."""
    assert "data" not in found, found
    code: str = found["errors"][0]["extensions"]["code"]
    return code


def test_a_document_is_answered_in_its_own_order_and_names(ask: Ask) -> None:
    found = ask(
        """
        query ($min: Decimal) {
          who: customers(sort: {field: "name"}) {
            pageInfo { totalItems hasNextPage totalPages }
            items { __typename tier label: name orders(sort: {field: "number", order: DESC},
                filter: {total_gte: $min}) { number customer { name } total } }
          }
          __typename
        }
        """,
        {"min": "10.5"},
    )
    assert found == {
        "data": {
            "who": {
                "pageInfo": {"totalItems": 2, "hasNextPage": False, "totalPages": 1},
                "items": [
                    {
                        "__typename": "Customer",
                        "tier": "pro",
                        "label": "Ada",
                        "orders": [
                            {"number": "A2", "customer": {"name": "Ada"}, "total": "20.00"},
                            {"number": "A1", "customer": {"name": "Ada"}, "total": "10.50"},
                        ],
                    },
                    {"__typename": "Customer", "tier": None, "label": "Bob", "orders": []},
                ],
            },
            "__typename": "Query",
        }
    }
    assert list(found["data"]["who"]) == ["pageInfo", "items"]
    assert list(found["data"]["who"]["items"][0]) == ["__typename", "tier", "label", "orders"]


def test_pages_are_walked_by_cursor_forth_and_back(ask: Ask) -> None:
    page = 'query ($p: PaginationInput) { orders(pagination: $p, sort: {field: "number"}) {'
    page += " edges { cursor node { number } } pageInfo { hasNextPage hasPreviousPage currentPage"
    page += " startCursor endCursor } } }"
    first = ask(page, {"p": {"pageSize": 3}})["data"]["orders"]
    assert [e["node"]["number"] for e in first["edges"]] == ["A1", "A2", "A3"]
    info = first["pageInfo"]
    assert (info["hasNextPage"], info["hasPreviousPage"], info["currentPage"]) == (True, False, 1)
    assert first["edges"][0]["cursor"] == info["startCursor"]
    assert first["edges"][2]["cursor"] == info["endCursor"]
    second = ask(page, {"p": {"pageSize": 3, "after": info["endCursor"]}})["data"]["orders"]
    assert [e["node"]["number"] for e in second["edges"]] == ["Z"]
    assert second["pageInfo"]["hasNextPage"] is False
    back = {"pageSize": 2, "before": second["pageInfo"]["startCursor"]}
    third = ask(page, {"p": back})["data"]["orders"]
    assert [e["node"]["number"] for e in third["edges"]] == ["A2", "A3"]
    assert third["pageInfo"]["hasPreviousPage"] is True
    relay = 'query ($c: String) { orders(first: 1, after: $c, orderBy: [{field: "number"}]) {'
    relay += " edges { node { number } } } }"
    found = ask(relay, {"c": first["edges"][1]["cursor"]})["data"]["orders"]["edges"]
    assert found == [{"node": {"number": "A3"}}]


def test_related_records_have_pages_and_cursors_of_their_own(ask: Ask) -> None:
    page = 'query ($p: PaginationInput) { customers(filter: {name: "Ada"}) { items {'
    page += ' ordersConnection(pagination: $p, sort: {field: "number"}) { totalCount items { number'
    page += " customer { name } } pageInfo { hasNextPage endCursor } } } } }"
    first = ask(page, {"p": {"pageSize": 2}})["data"]["customers"]["items"][0]["ordersConnection"]
    assert first["totalCount"] == 3
    assert [o["number"] for o in first["items"]] == ["A1", "A2"]
    after = {"pageSize": 2, "after": first["pageInfo"]["endCursor"]}
    second = ask(page, {"p": after})["data"]["customers"]["items"][0]["ordersConnection"]
    assert second["items"] == [{"number": "A3", "customer": {"name": "Ada"}}]
    assert second["pageInfo"]["hasNextPage"] is False
    assert second["totalCount"] == 3


def test_a_page_may_tell_of_itself_alone(ask: Ask) -> None:
    found = ask("{ a: orders { pageInfo { totalItems } } b: orders { __typename } c: orders {"
                " pageInfo { pageSize __typename } totalCount } }")  # fmt: skip
    assert found["data"] == {
        "a": {"pageInfo": {"totalItems": 4}},
        "b": {"__typename": "OrderConnection"},
        "c": {"pageInfo": {"pageSize": 20, "__typename": "PageInfo"}, "totalCount": 4},
    }


def test_one_record_fragments_and_directives(ask: Ask) -> None:
    found = ask('{ orders(filter: {number: "Z"}) { items { id } } }')
    [order] = found["data"]["orders"]["items"]
    document = """
    query ($id: ID!, $with: Boolean!) {
      order(id: $id) { ...Whole customer @include(if: $with) { name } ... on Order { extra } }
      none: order(id: "00000000-0000-4000-8000-000000000000") { id }
      no: order(id: "no id") { id }
      schemaVersion
    }
    fragment Whole on Order { points number total @skip(if: $with) }
    """
    found = ask(document, {"id": order["id"], "with": False})["data"]
    extra = {"a": [1.5, 12345678901234567890]}
    assert found["order"] == {"points": 2**60, "number": "Z", "total": None, "extra": extra}
    assert (found["none"], found["no"]) == (None, None)
    assert found["schemaVersion"] > 0


def test_filters_reach_over_relations_and_take_every_operator_of_rest(ask: Ask) -> None:
    document = "query ($f: CustomerFilterInput) { customers(filter: $f) { items { name } } }"

    def names(given: object) -> list[str]:
        found = ask(document, {"f": given})
        return [item["name"] for item in found["data"]["customers"]["items"]]

    assert names({"orders": {"some": {"total_gt": 15}}}) == ["Ada"]
    assert names({"orders": {"none": {}}}) == ["Bob"]
    assert names({"or": [{"tier_in": ["free"]}, {"name_istartsWith": "b"}]}) == ["Bob"]
    assert names({"not": {"tier_isNull": True}}) == ["Ada"]
    assert names({"name_contains": "a", "email_endsWith": "x.org"}) == ["Ada"]
    assert names({"name_between": ["A", "B"]}) == ["Ada"]
    assert names({}) == ["Ada", "Bob"]
    assert names(None) == ["Ada", "Bob"]


def test_what_cannot_be_read_is_refused_by_name_and_never_fails(
    shop: httpx.Client, ask: Ask
) -> None:
    bad: list[tuple[str, object, str]] = [
        ("{ orders(filter: {placedOn: \"no date\"}) { items { id } } }", None, "graphql.invalid"),
        ("{ orders(filter: {total_gt: \"x\"}) { items { id } } }", None, "graphql.invalid"),
        ("{ orders(filter: {points: 99999999999999999999}) { items { id } } }", None, "graphql.invalid"),
        ("query ($n: Int) { orders(filter: {points: $n}) { items { id } } }", {"n": 2**70}, "graphql.invalid"),
        ("{ orders(filter: {number: null}) { items { id } } }", None, "graphql.invalid"),
        ("{ orders(filter: {number_in: []}) { items { id } } }", None, "graphql.invalid"),
        ("{ orders(filter: {number: \"\\u0000\"}) { items { id } } }", None, "graphql.invalid"),
        ("{ orders(filter: {customerId: \"x\"}) { items { id } } }", None, "graphql.invalid"),
        ("{ orders(sort: {field: \"nothing\"}) { items { id } } }", None, "graphql.invalid"),
        ("{ orders(sort: {field: \"id,number\"}) { items { id } } }", None, "graphql.invalid"),
        ("{ orders(pagination: {pageSize: 1001}) { items { id } } }", None, "graphql.invalid"),
        ("{ orders(pagination: {pageSize: 0}) { items { id } } }", None, "graphql.invalid"),
        ("{ orders(pagination: {page: -1}) { items { id } } }", None, "graphql.invalid"),
        ("{ orders(pagination: {page: 999999999}) { items { id } } }", None, "graphql.invalid"),
        ("{ orders(pagination: {after: \"made up\"}) { items { id } } }", None, "request.cursor_mismatch"),
        ("{ orders(first: 5, last: 5) { items { id } } }", None, "graphql.invalid"),
        ("{ orders(q: \"\") { items { id } } }", None, "graphql.invalid"),
        ("{ nothing { id } }", None, "graphql.invalid"),
        ("{ orders { items { nothing } } }", None, "graphql.invalid"),
        ("query ($x: Nothing) { orders { items { id } } }", None, "graphql.invalid"),
        ("query ($x: Int!) { orders(first: $x) { items { id } } }", None, "graphql.invalid"),
        ("{ orders { items { ...F } } } fragment F on Order { id ...F }", None, "graphql.invalid"),
        ("{ orders {", None, "graphql.syntax"),
        ("", None, "graphql.syntax"),
        ("{ __schema { types { name } } }", None, "graphql.invalid"),
        ("{ orders(pagination: {pageSize: 1000}) { items { customer { orders { customer { orders { number } } } } } } }", None, "graphql.limit"),
        ("{ orders { items { customer { orders { customer { orders { customer { orders { customer"
         " { orders { number } } } } } } } } } } }", None, "graphql.limit"),
        ("{ " + " ".join(f"a{n}: __typename" for n in range(2000)) + " }", None, "graphql.limit"),
        ("{ " + "__typename " * 30 + "}", None, "graphql.limit"),
        ("{ orders { items { " + "id " * 2000 + "} } }", None, "graphql.limit"),
        ("{ a " * 10_000 + "}" * 10_000, None, "graphql.limit"),
        ("{ a " * 2_000 + "}" * 2_000, None, "graphql.limit"),
        ("# " * 150_000, None, "graphql.limit"),
        ("{ orders(filter: " + "{not: " * 30 + "{}" + "}" * 30 + ") { items { id } } }", None, "graphql.invalid"),
        ("query { ...A } fragment A on Query { ...B ...B } fragment B on Query { ...C ...C } fragment C"
         " on Query { a: __typename b: __typename c: __typename d: __typename e: __typename f: __typename }",
         None, "graphql.limit"),
    ]  # fmt: skip
    for query, variables, code in bad:
        answer = shop.post("/graphql", json={"query": query, "variables": variables})
        assert answer.status_code == 200, (query[:80], answer.text)
        assert refused(answer.json()) == code, (query[:80], answer.text)
        strict = {"accept": "application/graphql-response+json"}
        body = {"query": query, "variables": variables}
        assert shop.post("/graphql", json=body, headers=strict).status_code == 400
    [found] = ask('{ orders(filter: {placedOn: "x"}) { items { id } } }')["errors"]
    assert found["locations"] == [{"line": 1, "column": 3}]
    assert found["extensions"]["errors"][0]["code"] == "format"
    # Without introspection nothing of the schema is given away.
    assert "did you mean" not in str(ask("{ orderz { items { id } } }")).lower()


def test_requests_that_are_no_graphql_requests(shop: httpx.Client, standing: Standing) -> None:
    good = {"query": "{ __typename }"}

    def status(**how: Any) -> int:
        answer = shop.request(**{"method": "POST", "url": "/graphql", **how})
        assert answer.json()["errors"][0]["extensions"]["code"]
        return answer.status_code

    assert status(json=[good]) == 400
    assert status(json="x") == 400
    assert status(content=b"{", headers={"content-type": "application/json"}) == 400
    assert status(content=b'{"query": "\xff"}', headers={"content-type": "application/json"}) == 400
    deep = b'{"variables": ' + b"[" * 10_000 + b"]" * 10_000 + b"}"
    assert status(content=deep, headers={"content-type": "application/json"}) == 400
    nul = b'{"query": "{ __typename }", "variables": {"a": "\\u0000"}}'
    assert status(content=nul, headers={"content-type": "application/json"}) == 422
    assert status(content=b"{ __typename }", headers={"content-type": "text/plain"}) == 415
    assert status(data={"query": "{ __typename }"}) == 415
    assert status(json={"variables": {}}) == 400
    assert status(json={"query": 1}) == 400
    assert status(json={**good, "variables": []}) == 400
    assert status(json={**good, "operationName": "Other"}) == 400
    assert status(json={"query": "query A { __typename } query B { __typename }"}) == 400
    assert status(json=good, headers={"accept": "text/csv"}) == 406
    assert status(method="GET", params={"query": "mutation { deleteOrder(id: 1) }"}) == 405
    assert status(json={"query": "subscription { orderCreated { id } }"}) == 400
    assert status(json=good, headers={"x-api-key": "hw_live_nobody"}) == 401
    assert shop.request("PUT", "/graphql").status_code == 405
    # Another site's page can make a browser send its cookies, and nothing else.
    with httpx.Client(base_url=standing.url, headers={"cookie": "session=1"}) as forged:
        assert forged.get("/graphql", params=good).status_code == 403
        preflighted = forged.get("/graphql", params=good, headers={"x-hw-csrf": "1"})
        assert preflighted.status_code == 401


def test_a_query_by_get_and_a_kept_document(shop: httpx.Client, standing: Standing) -> None:
    query = "query ($n: String) { orders(filter: {number: $n}) { items { number } } }"
    given = {"query": query, "variables": '{"n": "A1"}'}
    expected = {"data": {"orders": {"items": [{"number": "A1"}]}}}
    answer = shop.get("/graphql", params=given)
    assert answer.json() == expected
    assert int(answer.headers["X-Query-Cost"]) == 21
    document = "sha256:" + hashlib.sha256(query.encode()).hexdigest()
    variables = {"n": "A1"}

    def by_id(client: httpx.Client, **more: object) -> httpx.Response:
        return client.post(
            "/graphql", json={"documentId": document, "variables": variables, **more}
        )

    assert by_id(shop).status_code == 404
    with standing.client(make_key(standing.owner, standing.tenant, "read")) as reader:
        assert by_id(reader, query=query).status_code == 403  # keeping one is writing
        assert by_id(shop, query=query + " ").status_code == 400
        assert by_id(shop, query=query).json() == expected
        assert by_id(reader).json() == expected
        by_get = {"documentId": document, "variables": '{"n": "A1"}'}
        assert reader.get("/graphql", params=by_get).json() == expected
    assert shop.post("/graphql", json={"documentId": "md5:1"}).status_code == 400


def test_another_tenants_cursor_and_records_are_nobodys(
    admin: httpx.Client, other_admin: httpx.Client
) -> None:
    for client in (admin, other_admin):
        define(client)
        for number in "ab":
            client.post("/api/v1/orders", json={"number": number}).raise_for_status()
    mine, theirs = asking(admin), asking(other_admin)
    page = "query ($c: String) { orders(first: 1, after: $c) { items { id number } pageInfo { endCursor } } }"
    found = mine(page)["data"]["orders"]
    cursor = {"c": found["pageInfo"]["endCursor"]}
    over_rest = other_admin.get("/api/v1/orders", params={"after": cursor["c"]}).json()
    [error] = theirs(page, cursor)["errors"]
    assert error["extensions"]["code"] == over_rest["code"] == "request.cursor_mismatch"
    assert error["path"] == ["orders"]
    sorted_else = page.replace("first: 1", 'first: 1, sort: {field: "number"}')
    for other in (sorted_else, page.replace("first: 1", 'first: 1, filter: {number: "a"}')):
        assert refused(mine(other, cursor)) == "request.cursor_mismatch"
    within = page.replace("orders(first: 1,", 'customers { items { n: ordersConnection(q: "a",')
    [error] = mine(within.replace("} }", "} } } }"), cursor)["errors"]
    assert error["path"] == ["customers", "n"]
    assert error["extensions"]["code"] == "request.cursor_mismatch"
    strict = {"accept": "application/graphql-response+json"}
    body = {"query": page, "variables": cursor}
    assert other_admin.post("/graphql", json=body, headers=strict).status_code == 400
    assert mine(page, cursor)["data"]["orders"]["items"]
    one = "query ($id: ID!) { order(id: $id) { number } }"
    assert theirs(one, {"id": found["items"][0]["id"]}) == {"data": {"order": None}}
    gone = "mutation ($id: ID!) { deleteOrder(id: $id) }"
    [error] = theirs(gone, {"id": found["items"][0]["id"]})["errors"]
    assert error["extensions"]["code"] == "resource.not_found"
    assert mine(one, {"id": found["items"][0]["id"]}) == {"data": {"order": {"number": "a"}}}


def test_writing_one_record_as_over_rest(
    admin: httpx.Client,
    connect: Connect,
    owner_database: Database,
    tenant: Tenant,
) -> None:
    define(admin)
    ask = asking(admin)
    create = "mutation ($input: CustomerInput!) { createCustomer(input: $input) { id name version orders { id } } }"
    made = ask(create, {"input": {"name": "Ada", "email": "a@x.org"}})["data"]["createCustomer"]
    assert (made["name"], made["version"], made["orders"]) == ("Ada", 1, [])
    over_rest = admin.get(f"/api/v1/customers/{made['id']}").json()
    assert over_rest["name"] == "Ada"

    twice = ask(create, {"input": {"name": "Bob", "email": "a@x.org"}})
    assert twice["data"] is None
    [error] = twice["errors"]
    assert (error["path"], error["extensions"]["code"]) == (["createCustomer"], "record.not_unique")
    [error] = ask(create, {"input": {"email": "nowhere", "tier": "gold"}})["errors"]
    assert error["extensions"]["status"] == 422
    pointers = {fault["pointer"] for fault in error["extensions"]["errors"]}
    assert pointers == {"#/input/name", "#/input/email", "#/input/tier"}

    update = 'mutation ($id: ID!, $v: Int) { updateCustomer(id: $id, input: {tier: "pro"}, ifVersion: $v) { tier version } }'
    found = ask(update, {"id": made["id"], "v": 1})["data"]["updateCustomer"]
    assert found == {"tier": "pro", "version": 2}
    [error] = ask(update, {"id": made["id"], "v": 1})["errors"]
    assert error["extensions"]["code"] == "record.version_conflict"
    # All of a document or nothing: the first write is taken back with the second.
    both = 'mutation ($id: ID!) { a: updateCustomer(id: $id, input: {name: "X"}) { id } b: deleteCustomer(id: "no") }'
    failed = ask(both, {"id": made["id"]})
    assert (failed["data"], failed["errors"][0]["path"]) == (None, ["b"])
    assert admin.get(f"/api/v1/customers/{made['id']}").json()["name"] == "Ada"
    assert ask("mutation ($id: ID!) { deleteCustomer(id: $id) }", {"id": made["id"]}) == {
        "data": {"deleteCustomer": True}
    }
    assert admin.get(f"/api/v1/customers/{made['id']}").status_code == 404

    retried = {"query": create, "variables": {"input": {"name": "Once"}}}
    key = {"Idempotency-Key": "one"}
    first, second = (admin.post("/graphql", json=retried, headers=key) for _ in range(2))
    assert first.json() == second.json()
    assert second.headers["Idempotency-Replayed"] == "true"
    assert admin.get("/api/v1/customers?count=exact").json()["pageInfo"]["totalItems"] == 1

    with connect(make_key(owner_database, tenant, "read")) as reader:
        answer = reader.post("/graphql", json=retried)
        assert answer.status_code == 403
        assert answer.json()["errors"][0]["extensions"]["code"] == "auth.forbidden"


def test_writing_many_records_with_the_outcome_of_each(admin: httpx.Client) -> None:
    define(admin)
    ask = asking(admin)
    create = """mutation ($input: [TagInput!]!, $atomic: Boolean) {
      createTags(input: $input, atomic: $atomic) { __typename total succeeded failed
        items { index status id version record { label } error } } }"""
    found = ask(
        create, {"input": [{"label": "a"}, {"label": "a"}, {"label": "b"}], "atomic": False}
    )
    result = found["data"]["createTags"]
    assert (result["total"], result["succeeded"], result["failed"]) == (3, 2, 1)
    assert [item["status"] for item in result["items"]] == [201, 422, 201]
    assert result["items"][0]["record"] == {"label": "a"}
    assert result["items"][1]["record"] is None
    assert result["items"][1]["error"]["errors"][0]["pointer"] == "#/input/1/label"
    again = ask(create, {"input": [{"label": "c"}, {"label": "a"}]})
    assert again["data"] is None
    assert again["errors"][0]["extensions"]["errors"][0]["pointer"] == "#/input/1/label"
    assert admin.get("/api/v1/tags?count=exact").json()["pageInfo"]["totalItems"] == 2

    ids = [result["items"][0]["id"], result["items"][2]["id"]]
    update = """mutation ($input: [TagBulkUpdateInput!]!) {
      updateTags(input: $input) { items { version record { label } } } }"""
    items = [{"id": ids[0], "ifVersion": 1, "set": {"label": "A"}}]
    found = ask(update, {"input": items})["data"]["updateTags"]["items"]
    assert found == [{"version": 2, "record": {"label": "A"}}]
    assert ask(update, {"input": items})["data"] is None
    upsert = """mutation { upsertTags(key: "label", input: [{label: "A"}, {label: "z"}]) {
      items { status } } }"""
    assert ask(upsert)["data"]["upsertTags"]["items"] == [{"status": 200}, {"status": 201}]
    delete = "mutation ($ids: [ID!]!) { deleteTags(ids: $ids) { succeeded items { status record { id } } } }"
    found = ask(delete, {"ids": ids})["data"]["deleteTags"]
    assert found == {"succeeded": 2, "items": [{"status": 204, "record": None}] * 2}
    assert ask(delete, {"ids": []})["errors"][0]["extensions"]["status"] == 400


def test_an_entity_that_demands_versions_demands_them_here(admin: httpx.Client) -> None:
    note = {
        "name": "Note",
        "pluralName": "Notes",
        "requireIfMatch": True,
        "fields": [{"name": "text", "type": "text", "unique": True}],
    }
    admin.post("/api/v1/entities", json=note).raise_for_status()
    ask = asking(admin)
    made = ask('mutation { createNote(input: {text: "a"}) { id version } }')["data"]["createNote"]
    given = {"id": made["id"]}
    head = "mutation ($id: ID!, $v: Int) {"
    update = head + ' n: updateNote(id: $id, input: {text: "b"}, ifVersion: $v) { version text } }'
    delete = head + " n: deleteNote(id: $id, ifVersion: $v) }"
    updates = (
        head + ' n: updateNotes(input: [{id: $id, ifVersion: $v, set: {text: "b"}}]) { failed } }'
    )
    upserts = 'mutation { n: upsertNotes(key: "text", input: [{text: "a"}]) { failed } }'
    deletes = "mutation ($id: ID!) { n: deleteNotes(ids: [$id]) { failed } }"
    for document in (update, delete, updates, upserts, deletes):
        variables = {} if document is upserts else given
        found = ask(document, variables)
        assert found["data"] is None, (document, found)
        [error] = found["errors"]
        assert error["path"] == ["n"]
        wanted = ("record.precondition_required", 428)
        assert (error["extensions"]["code"], error["extensions"]["status"]) == wanted, document
    for document in (update, delete):
        [error] = ask(document, {**given, "v": 7})["errors"]
        assert error["extensions"]["code"] == "record.version_conflict", document
    [error] = ask(updates, {**given, "v": 7})["errors"]
    assert error["extensions"]["status"] == 409
    assert ask(update, {**given, "v": 1})["data"]["n"] == {"version": 2, "text": "b"}
    assert ask(delete, {**given, "v": 2})["data"] == {"n": True}


def test_groups_of_records_and_of_related_records(ask: Ask) -> None:
    document = """query ($by: [String!]) {
      orders(pagination: {pageSize: 1}) { items { number } __typename
        aggregate(groupBy: $by, sort: {field: "max.total", order: DESC}) {
          __typename group n: count sum { total points __typename } max { total number placedOn } } }
      customers(sort: {field: "name"}) { items { name ordersConnection(filter: {total_gte: 15}) {
        aggregate { count avg { total } } } } }
      all: orders(filter: {number: "nothing"}) { aggregate { group count min { createdAt } } } }"""
    found = ask(document, {"by": ["customer.name", "placedOn.month"]})["data"]
    assert [item["number"] for item in found["orders"]["items"]] == ["A1"]
    first, second = found["orders"]["aggregate"]
    assert first == {
        "__typename": "OrderAggregate",
        "group": {"customer.name": "Ada", "placedOn.month": "2026-01-01"},
        "n": 3,
        "sum": {"total": "30.50", "points": None, "__typename": "OrderSums"},
        "max": {"total": "20.00", "number": "A3", "placedOn": "2026-01-31"},
    }
    assert second["sum"]["points"] == 2**60
    assert [item["ordersConnection"]["aggregate"] for item in found["customers"]["items"]] == [
        [{"count": 1, "avg": {"total": "20.0000000000000000"}}],
        [{"count": 0, "avg": {"total": None}}],
    ]
    assert found["all"] == {"aggregate": [{"group": {}, "count": 0, "min": {"createdAt": None}}]}
    for arguments, code in (
        ('groupBy: "nothing"', "unknown"),
        ('groupBy: ["number", "number"]', "duplicate"),
        ('groupBy: "number,total"', "format"),
        ('groupBy: "extra"', "operator"),
        ('groupBy: "placedOn.hour"', "operator"),
        ('sort: {field: "sum.total"}', "unknown"),
        ('sort: {field: "count", nullsFirst: true}', "unknown"),
        ("pageSize: 1001", "range"),
        ("page: 0", "range"),
    ):
        refusal = ask(f"{{ orders {{ aggregate({arguments}) {{ count }} }} }}")
        assert refused(refusal) == "graphql.invalid", arguments
        [fault] = refusal["errors"][0]["extensions"]["errors"]
        assert (fault["parameter"], fault["code"]) == ("aggregate", code), arguments


def test_a_statement_too_complex_for_postgresql_is_answered_by_many(
    shop: httpx.Client, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = """{ who: customers(sort: {field: "name"}) { edges { cursor node { name
      orders(sort: {field: "number"}) { number total customer { email } } } } pageInfo { totalItems } }
      order(id: "no") { id } schemaVersion }"""
    expected = ask(document)
    sums = statement("select (" + "1 + " * 100_000 + "1)::text", (), lambda row: row[0])
    monkeypatch.setattr(engine, "select_shape", lambda members: sums)
    # A space makes it another document: nothing is remembered of it.
    assert ask(document + " ") == expected


def test_a_changed_definition_is_in_the_next_answer(admin: httpx.Client) -> None:
    define(admin)
    ask = asking(admin)
    admin.post("/api/v1/tags", json={"label": "a"}).raise_for_status()
    page = (
        "query ($c: String) { tags(first: 1, after: $c) { items { NAME } pageInfo { endCursor } } }"
    )
    old, new = page.replace("NAME", "label"), page.replace("NAME", "title")
    cursor = ask(old)["data"]["tags"]["pageInfo"]["endCursor"]
    version = ask("{ schemaVersion }")["data"]["schemaVersion"]
    entity = admin.get("/api/v1/entities/Tag").json()
    entity["fields"][0]["name"] = "title"
    body = {key: entity[key] for key in ("name", "pluralName", "fields")}
    admin.put("/api/v1/entities/Tag", json=body).raise_for_status()
    assert refused(ask(old)) == "graphql.invalid"
    assert ask(new)["data"]["tags"]["items"] == [{"title": "a"}]
    assert ask(new, {"c": cursor})["data"]["tags"]["items"] == []
    assert ask("{ schemaVersion }")["data"]["schemaVersion"] == version + 1


def test_the_schema_can_be_shown_and_names_do_not_clash(
    api_settings: Settings, owner_database: Database, tenant: Tenant
) -> None:
    shown = api_settings.model_copy(update={"graphql_introspection": True})
    key = {"X-API-Key": make_key(owner_database, tenant)}
    with serving(shown) as url, httpx.Client(base_url=url, headers=key, timeout=30) as client:
        define(client)
        for name in ("OrderInput", "OrderConnection", "OrderFilter", "Sort", "OrderSums"):
            body = {
                "name": name,
                "pluralName": f"{name}Many",
                "fields": [{"name": "itemsConnection", "type": "text"}],
            }
            client.post("/api/v1/entities", json=body).raise_for_status()
        ask = asking(client)
        found = ask(get_introspection_query())
        schema = build_client_schema(found["data"])
        assert validate_schema(schema) == []
        assert ask(get_introspection_query()) == found
        mutation, query = schema.mutation_type, schema.query_type
        assert mutation is not None
        assert query is not None
        assert str(mutation.fields["createOrder"].args["input"].type) == "OrderInput_!"
        assert str(mutation.fields["createSort"].args["input"].type) == "SortInput_!"
        assert str(query.fields["orders"].type) == "OrderConnection_!"
        # An entity with a longer name may have a type that a shorter one would have, too.
        assert str(mutation.fields["createOrderFilter"].args["input"].type) == "OrderFilterInput!"
        assert str(query.fields["orders"].args["filter"].type) == "OrderFilterInput_"
        assert ask('{ orders(filter: {number: "x"}) { aggregate { sum { total } } } }')["data"]
        assert list(query.fields["orders"].args)[:3] == ["filter", "pagination", "sort"]
        assert schema.subscription_type is not None
        assert str(schema.subscription_type.fields["orderDeleted"].type) == "ID!"
        mixed = ask('{ schemaVersion orders { totalCount } __type(name: "Order") { kind } }')
        assert list(mixed["data"]) == ["schemaVersion", "orders", "__type"]
        assert mixed["data"]["__type"] == {"kind": "OBJECT"}
        assert mixed["data"]["orders"] == {"totalCount": 0}
        made = ask(
            'mutation { createOrderInput(input: {itemsConnection: "x"}) { itemsConnection } }'
        )
        assert made["data"]["createOrderInput"] == {"itemsConnection": "x"}
        # In the open, errors help.
        assert "Did you mean" in ask("{ orderz { totalCount } }")["errors"][0]["message"]

"""Bad input against real state: cursors, relations, unique values, versions, bulk and definitions."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from hubblewave_pipelines.storage.database import statement
from tests.conftest import make_tenant
from tests.facade.conftest import Standing, make_key
from tests.facade.test_bad_input import check_problem

API, ABSENT = "/api/v1", "0190a9a0-0000-7000-8000-000000000000"
DEEP = b"[" * 10_000 + b"]" * 10_000
JSON = {"Content-Type": "application/json"}
KNOT: dict[str, Any] = {
    "name": "Knot",
    "pluralName": "Knots",
    "fields": [
        {"name": "code", "type": "text", "unique": True, "required": True, "maxLength": 5},
        {"name": "size", "type": "integer", "min": 0},
        {"name": "rank", "type": "integer", "computed": True},
        {"name": "mail", "type": "email"},
        {"name": "tier", "type": "enum", "enum": ["a", "b"]},
        {"name": "data", "type": "json"},
    ],
    "relationships": [{"name": "parent", "type": "manyToOne", "targetEntity": "Knot"}],
}


@pytest.fixture(scope="module")
def client(standing: Standing) -> Iterator[httpx.Client]:
    with standing.client() as client:
        assert client.post(f"{API}/entities", json=KNOT).status_code == 201
        for number in range(5):
            made = client.post(f"{API}/knots", json={"code": f"n{number}"})
            assert made.status_code == 201
        yield client


@pytest.fixture(scope="module")
def other(standing: Standing) -> Iterator[httpx.Client]:
    """A client of another tenant with the same definitions and records."""
    key = make_key(standing.owner, make_tenant(standing.owner, "other"))
    with standing.client(key) as other:
        assert other.post(f"{API}/entities", json=KNOT).status_code == 201
        for number in range(5):
            other.post(f"{API}/knots", json={"code": f"n{number}"})
        yield other


def faults(problem: dict[str, Any]) -> dict[str, str]:
    return {
        error.get("pointer") or error["parameter"]: error["code"] for error in problem["errors"]
    }


@pytest.mark.parametrize("path", ["knots", "knots/query", "knots/bulk", "entities", "api-keys"])
def test_json_ten_thousand_levels_deep_is_refused(client: httpx.Client, path: str) -> None:
    body = b'{"data":' + DEEP + b',"items":' + DEEP + b"}"
    check_problem(client.post(f"{API}/{path}", content=body, headers=JSON), 400)


def test_a_deep_condition_in_an_address_is_refused(client: httpx.Client) -> None:
    for where in ('{"not":' * 500 + "{}" + "}" * 500, '{"parent":' * 20 + "{}" + "}" * 20):
        check_problem(client.get(f"{API}/knots", params={"where": where}), 400)


def test_a_cursor_is_good_for_its_own_list_only(client: httpx.Client, other: httpx.Client) -> None:
    asked = {"sort": "code", "filter[size][isNull]": "true", "pageSize": "2"}
    end = client.get(f"{API}/knots", params=asked).json()["pageInfo"]["endCursor"]
    good = client.get(f"{API}/knots", params={**asked, "after": end})
    assert [item["code"] for item in good.json()["items"]] == ["n2", "n3"]
    flipped = ("B" if end[0] != "B" else "C") + end[1:]
    bad: list[tuple[httpx.Client, dict[str, str]]] = [
        (other, {**asked, "after": end}),
        (client, {**asked, "after": flipped}),
        (client, {**asked, "after": end[:-4]}),
        (client, {**asked, "after": end + "AAAA"}),
        (client, {**asked, "sort": "-code", "after": end}),
        (client, {**asked, "sort": "code.nullsFirst", "after": end}),
        (client, {"sort": "code", "pageSize": "2", "after": end}),
        (client, {**asked, "filter[size][isNull]": "false", "before": end}),
    ]
    for asker, params in bad:
        problem = check_problem(asker.get(f"{API}/knots", params=params), 400)
        assert problem["code"] == "request.cursor_mismatch", params
    feed = client.get(f"{API}/knots/changes", params={"limit": 2}).json()["next"]
    check_problem(other.get(f"{API}/knots/changes", params={"since": feed}), 400)
    one = client.get(f"{API}/knots").json()["items"][0]["id"]
    check_problem(client.get(f"{API}/knots/{one}/history", params={"after": end}), 400)


@pytest.mark.parametrize(
    "query",
    [
        "expand=parent.parent.parent.parent",
        "expand=parent(expand=parent(expand=parent(expand=parent)))",
        "expand=nobody",
        "expand=parent(",
        "expand=parent(pageSize=5)",
        "fields=parent.code",
        "fields=nobody.code",
        "sort=parent.nobody",
        "filter[parent][some][code]=x",
        "filter[nobody.code]=x",
        "filter[code][in]=" + ",".join(["x"] * 1001),
        "where=" + json.dumps({"or": [{"size": n} for n in range(201)]}),
        "aggregate[sum]=size",
    ],
    ids=lambda query: query[:40],
)
def test_what_goes_beyond_a_list_is_refused(client: httpx.Client, query: str) -> None:
    assert check_problem(client.get(f"{API}/knots?{query}"), 400)["errors"]


def test_every_fault_of_a_record_is_named_at_once(client: httpx.Client) -> None:
    body = {
        "code": "too long",
        "size": -1,
        "rank": 1,
        "mail": "nobody",
        "tier": "c",
        "data": {"a": "\x00"},
        "id": ABSENT,
        "more": 1,
        "parentId": "x",
    }
    problem = check_problem(client.post(f"{API}/knots", json={**body, "data": None}), 422)
    assert faults(problem) == {
        "#/code": "length",
        "#/size": "range",
        "#/rank": "read_only",
        "#/mail": "format",
        "#/tier": "enum",
        "#/id": "read_only",
        "#/more": "unknown",
        "#/parentId": "format",
    }
    missing = check_problem(client.post(f"{API}/knots", json={"code": None, "size": 1.5}), 422)
    assert faults(missing) == {"#/code": "required", "#/size": "type"}
    check_problem(client.post(f"{API}/knots", json={**body, "data": {"a": "\x00"}}), 422)


def test_relations_and_unique_values_that_cannot_be(
    client: httpx.Client, other: httpx.Client
) -> None:
    theirs = other.get(f"{API}/knots").json()["items"][0]["id"]
    for target in (ABSENT, theirs):
        answer = client.post(f"{API}/knots", json={"code": "r", "parentId": target})
        assert faults(check_problem(answer, 422)) == {"#/parentId": "reference"}
    check_problem(client.get(f"{API}/knots/{theirs}"), 404)
    check_problem(client.patch(f"{API}/knots/{theirs}", json={"size": 1}), 404)
    check_problem(client.delete(f"{API}/knots/{theirs}"), 404)
    parent = client.post(f"{API}/knots", json={"code": "p"}).json()["id"]
    child = client.post(f"{API}/knots", json={"code": "c", "parentId": parent}).json()["id"]
    taken = check_problem(client.post(f"{API}/knots", json={"code": "p"}), 409)
    assert (taken["code"], faults(taken)) == ("record.not_unique", {"#/code": "unique"})
    assert check_problem(client.delete(f"{API}/knots/{parent}"), 409)["code"] == "record.referenced"
    assert client.delete(f"{API}/knots/{child}").status_code == 204
    assert client.delete(f"{API}/knots/{parent}").status_code == 204


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If-Match": '"99"'}, 412),
        ({"If-Match": 'W/"1"'}, 412),
        ({"If-Match": '"x"'}, 412),
        ({"If-Match": "1"}, 400),
        ({"If-Match": '"1'}, 400),
        ({"If-Match": ","}, 400),
        ({"If-None-Match": '"1"'}, 400),
        ({"If-None-Match": "*"}, 412),
        ({"Idempotency-Key": "k" * 256}, 400),
        ({"Idempotency-Key": ""}, 400),
    ],
    ids=str,
)
def test_a_condition_that_does_not_hold_or_cannot_be_read(
    client: httpx.Client, headers: dict[str, str], status: int
) -> None:
    one = client.get(f"{API}/knots?filter[code]=n0").json()["items"][0]
    answer = client.patch(f"{API}/knots/{one['id']}", json={"size": 5}, headers=headers)
    check_problem(answer, status)
    assert client.get(f"{API}/knots/{one['id']}").json() == one


@pytest.mark.parametrize(
    ("method", "body", "status"),
    [
        ("POST", {"items": []}, 400),
        ("POST", {"items": {}}, 400),
        ("POST", {}, 400),
        ("POST", [], 400),
        ("POST", {"items": [{"code": "x"}], "atomic": "yes"}, 422),
        ("POST", {"items": [{"code": "x"}], "all": True}, 422),
        ("POST", {"items": [{"code": "x"}] * 1001}, 413),
        ("POST", {"items": [{"code": "x"}, {"code": "x"}]}, 422),
        ("POST", {"items": [None]}, 422),
        ("POST", {"items": [{"code": "n0"}]}, 409),
        ("PATCH", {"items": [{"id": ABSENT, "set": {"size": 1}}]}, 409),
        ("PATCH", {"items": [{"id": "x", "set": {"size": 1}}]}, 422),
        ("PATCH", {"items": [{"id": ABSENT}]}, 422),
        ("PATCH", {"items": [{"id": ABSENT, "ifMatch": [], "set": {}}]}, 422),
        ("DELETE", {"ids": [1]}, 422),
        ("DELETE", {"ids": [ABSENT, ABSENT]}, 422),
        ("DELETE", {"ids": [ABSENT], "items": []}, 400),
        ("PUT", {"items": [{"code": "x"}]}, 400),
    ],
    ids=lambda value: str(value)[:50],
)
def test_a_bad_bulk_request_writes_nothing(
    client: httpx.Client, method: str, body: Any, status: int
) -> None:
    before = client.get(f"{API}/knots?count=exact&pageSize=50").json()
    check_problem(client.request(method, f"{API}/knots/bulk", json=body), status)
    assert client.get(f"{API}/knots?count=exact&pageSize=50").json() == before


def made(**more: Any) -> dict[str, Any]:
    return {"name": "Made", "pluralName": "Mades", "fields": [], **more}


DEFINITIONS: list[tuple[dict[str, Any], int, str]] = [
    (made(pluralName="Imports"), 422, "#/pluralName"),
    (made(pluralName="GraphQL"), 422, "#/pluralName"),
    (made(name="Query"), 422, "#/name"),
    (made(name="1st"), 422, "#/name"),
    (made(name="a_b"), 422, "#/name"),
    (made(name="M" * 64), 422, "#/name"),
    (made(name="Knot"), 409, "#/name"),
    (made(pluralName="KNOTS"), 409, "#/pluralName"),
    (made(fields=[{"name": "a", "type": "text"}, {"name": "A", "type": "text"}]), 422, "#/fields/1/name"),
    (made(fields=[{"name": f"f{n}", "type": "text"} for n in range(201)]), 422, "#/fields"),
    (made(fields=[{"name": "version", "type": "text"}]), 422, "#/fields/0/name"),
    (made(fields=[{"name": "a", "type": "money"}]), 422, "#/fields/0/type"),
    (made(fields=[{"name": "a", "type": "text", "pattern": "("}]), 422, "#/fields/0/pattern"),
    (made(fields=[{"name": "a", "type": "integer", "default": "x"}]), 422, "#/fields/0/default"),
    (made(fields=None), 422, "#/fields"),
    (made(requireIfMatch="yes"), 422, "#/requireIfMatch"),
    (made(more=1), 422, "#/more"),
    (
        made(relationships=[{"name": "r", "type": "manyToOne", "targetEntity": "Nobody"}]),
        422,
        "#/relationships/0/targetEntity",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("body", "status", "pointer"), DEFINITIONS, ids=lambda v: str(v)[:50])
def test_a_bad_definition_is_refused_with_its_place(
    client: httpx.Client, body: dict[str, Any], status: int, pointer: str
) -> None:
    for query in ("", "?dryRun=true"):
        problem = check_problem(client.post(f"{API}/entities{query}", json=body), status)
        assert pointer in faults(problem), problem
    check_problem(client.get(f"{API}/entities/Made"), 404)


def test_a_change_that_the_records_do_not_allow_is_a_conflict(client: httpx.Client) -> None:
    fields = KNOT["fields"]
    for changed, pointer in (
        ([*fields, {"name": "must", "type": "text", "required": True}], "#/fields/6/required"),
        ([{"name": "code", "type": "integer"}, *fields[1:]], None),
        ([{**fields[0], "maxLength": 1}, *fields[1:]], None),
    ):
        answer = client.put(f"{API}/entities/Knot", json={**KNOT, "fields": changed})
        problem = check_problem(answer, 409)
        assert pointer is None or pointer in faults(problem)
    check_problem(client.delete(f"{API}/entities/Knot"), 409)
    assert client.get(f"{API}/knots").status_code == 200


def test_keys_without_the_scope_and_keys_that_are_over(
    client: httpx.Client, standing: Standing
) -> None:
    reader = make_key(standing.owner, standing.tenant, "read")
    with standing.client(reader) as limited:
        assert limited.get(f"{API}/knots").status_code == 200
        check_problem(limited.post(f"{API}/knots", json={"code": "z"}), 403)
        check_problem(limited.request("DELETE", f"{API}/knots/bulk", json={"ids": [ABSENT]}), 403)
        check_problem(limited.post(f"{API}/entities", json=made()), 403)
        check_problem(limited.get(f"{API}/api-keys"), 403)
        # The same whether what is asked for exists: a refusal tells nothing.
        check_problem(limited.patch(f"{API}/knots/{ABSENT}", json={"size": 1}), 403)
        for change in (
            "expires_at = now() - interval '1 s'",
            "expires_at = null, revoked_at = now()",
        ):
            with standing.owner.transaction() as tx:
                key_id = reader.split("_")[2]
                tx.run(
                    statement(f"update hubblewave.api_keys set {change} where id = %s", [key_id])
                )
            answer = limited.get(f"{API}/knots")
            check_problem(answer, 401)
            assert answer.headers["www-authenticate"].startswith("Bearer")

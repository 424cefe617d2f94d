"""What a tenant has is, to another, as if it did not exist: on every route there is.

The routes are read from the application, so that a new one fails here until `routes.ASKS` says how
to ask it for something of another tenant.
"""

import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from hubblewave_pipelines.core.identity import new_api_key
from hubblewave_pipelines.storage import connector_asks
from hubblewave_pipelines.storage.database import Database, statement
from tests.conftest import make_tenant
from tests.facade import rich, routes
from tests.facade.conftest import Standing, make_key
from tests.facade.routes import ASKS, PUBLIC, Ask

MARK = "topsecret"  # in every name and text that the other tenant has
# What nobody has asked for yet: nothing to find even for its owner.
NOT_THERE_YET = {
    "GET /api/v1/imports/{import_id}/revert",
    "GET /api/v1/exports/{export_id}/download",
    "HEAD /api/v1/exports/{export_id}/download",
}
_CHANGING = re.compile(r'"requestId": "[^"]*"|"retryAfter": [\d.]+')


@dataclass(frozen=True)
class Two:
    """A client of each tenant, and what the places of a request hold: theirs or nobody's."""

    mine: httpx.Client
    theirs: httpx.Client
    real: dict[str, str]
    made_up: dict[str, str]


def made(client: httpx.Client, path: str, body: Any) -> str:
    answer = client.post(f"/api/v1{path}", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def records(client: httpx.Client, name: str) -> tuple[str, str, str]:
    """A customer, an order of theirs and its tag."""
    customer = made(client, "/customers", {"code": name, "name": name, "tier": "pro"})
    made(client, "/customers", {"code": f"{name}-2", "name": name, "tier": "pro"})
    order = {"number": name, "total": "7", "customerId": customer}
    found = customer, made(client, "/orders", order), made(client, "/tags", {"word": name})
    made(client, "/orders", {**order, "number": f"{name}-2"})
    answer = client.put(f"/api/v1/orders/{found[1]}/tags/{found[2]}")
    assert answer.status_code == 204, answer.text
    return found


def sent_in_vain(owner: Database, tenant_id: uuid.UUID, webhook_id: str) -> tuple[str, str]:
    """A delivery that waits and a dead letter of a webhook, as a worker would leave them."""
    with owner.transaction() as tx:
        event = (
            "with event as (insert into hubblewave.events (tenant_id, type, ordering_key, data)"
            f" values (%(tenant)s, 'import.completed', 'k', '\"{MARK}\"')"
            " returning id, n, occurred_at, type)"
        )
        given = {"tenant": tenant_id, "webhook": webhook_id}
        delivery = tx.one(
            statement(
                f"{event} insert into hubblewave.webhook_deliveries (tenant_id, webhook_id,"
                " event_id, event_n, occurred_at, type, attempts_left, state) select %(tenant)s,"
                " %(webhook)s, id, n, occurred_at, type, 3, 'held' from event returning id",
                given,
            )
        )
        letter = tx.one(
            statement(
                f"{event} insert into hubblewave.webhook_dead_letters (tenant_id, webhook_id,"
                " delivery_id, event_id, occurred_at, type, ordering_key, data, reason, attempts)"
                f" select %(tenant)s, %(webhook)s, gen_random_uuid(), id, occurred_at, type, 'k',"
                f" '\"{MARK}\"', 'status', 10 from event returning id",
                given,
            )
        )
    assert delivery is not None
    assert letter is not None
    return str(delivery[0]), str(letter[0])


def discovered(owner: Database, tenant_id: uuid.UUID, connector_id: str) -> str:
    """What a run would have found of a connector."""
    ask = connector_asks.insert_ask(
        tenant_id, uuid.UUID(connector_id), "discover", None, uuid.uuid4()
    )
    with owner.transaction() as tx:
        found = tx.one(ask)
        assert found is not None
        tx.run(connector_asks.end_ask(tenant_id, found.id, result={"streams": [{"name": MARK}]}))
    return str(found.id)


@pytest.fixture(scope="module")
def two(standing: Standing) -> Iterator[Two]:
    other = make_tenant(standing.owner, "other")
    mine, theirs = standing.client(), standing.client(make_key(standing.owner, other))
    for client in (mine, theirs):
        rich.define(client)
    own = dict(zip(routes.OWN, records(mine, "mine"), strict=True))
    secret = {
        "name": "Topsecret",
        "pluralName": "topsecrets",
        "fields": [{"name": "number", "type": "text"}, {"name": "total", "type": "decimal"}],
    }
    made(theirs, "/entities", secret)
    customer, order, tag = records(theirs, MARK)
    page = theirs.get("/api/v1/orders?pageSize=1").json()["pageInfo"]
    upload = theirs.post(
        "/api/v1/imports",
        data={"entity": "Topsecret"},
        files={"file": (f"{MARK}.csv", b"number\n1\n", "text/csv")},
    )
    assert upload.status_code == 202, upload.text
    webhook = theirs.post(
        "/api/v1/webhooks",
        json={"url": f"https://{MARK}.example", "events": ["import.completed"], "active": False},
    )
    assert webhook.status_code == 201, webhook.text
    hook = webhook.json()["webhook"]["id"]
    exported = theirs.post("/api/v1/exports", json={"entity": "Topsecret", "format": "csv"})
    assert exported.status_code == 202, exported.text
    delivery, letter = sent_in_vain(standing.owner, other.id, hook)
    replay = theirs.post(f"/api/v1/webhooks/{hook}/replays", json={"since": "2026-01-01T00:00:00Z"})
    assert replay.status_code in (201, 202), replay.text
    watching = {"entity": "Topsecret", "url": "file:///", "pattern": "*.csv"}
    refused = theirs.post("/api/v1/import-watches", json=watching).json()
    watching["url"] = refused["errors"][0]["detail"].rpartition("(")[2].rstrip(")")  # it says where
    connector = made(theirs, "/connectors", {**routes.CONNECTOR, "name": MARK})
    job = made(
        theirs,
        "/sync-jobs",
        {
            "name": MARK,
            "connector": connector,
            "sourceEntity": "s",
            "targetEntity": "Topsecret",
            "fieldMapping": [{"sourceField": "a", "targetField": "number"}],
        },
    )
    run = theirs.post(f"/api/v1/sync-jobs/{job}/run", json={})
    assert run.status_code == 202, run.text
    given = {
        "SYNCJOB": job,
        "SYNCRUN": run.json()["id"],
        "CONNECTOR": connector,
        "CHECKED": discovered(standing.owner, other.id, connector),
        "EXPORT": exported.json()["id"],
        "WATCH": made(theirs, "/import-watches", watching),
        "WEBHOOK": hook,
        "DELIVERY": delivery,
        "LETTER": letter,
        "REPLAY": replay.json()["id"],
        "CUSTOMER": customer,
        "ORDER": order,
        "TAG": tag,
        "IMPORT": upload.json()["id"],
        "APIKEY": made(theirs, "/api-keys", {"name": MARK, "scopes": ["read"]}),
        "ENTITY": "Topsecret",
        "PLURAL": "topsecrets",
        "CURSOR": page["endCursor"],
        "SINCE": theirs.get("/api/v1/orders/changes").json()["next"],
    }
    assert given.keys() == set(routes.PLACES)
    nobody = {name: str(uuid.uuid4()) for name in given}
    nobody |= {"ENTITY": "Topsekret", "PLURAL": "topsekrets"}
    nobody |= {name: given[name][:-4] + "AAAA" for name in ("CURSOR", "SINCE")}
    yield Two(mine, theirs, own | given, own | nobody)
    mine.close()
    theirs.close()


def seen(answer: httpx.Response, words: dict[str, str]) -> tuple[int, set[str], str]:
    """Status, names of headers and the body with what was asked for taken out."""
    text = answer.text
    if text and answer.headers["content-type"].partition(";")[0].endswith("json"):
        text = json.dumps(answer.json(), indent=0)
    for place in sorted(words, key=lambda place: -len(words[place])):
        text = text.replace(words[place], place)
    return answer.status_code, set(answer.headers), _CHANGING.sub("", text)


def everything(client: httpx.Client) -> dict[str, Any]:
    """What a tenant sees of its own."""
    paths = (
        "entities imports exports api-keys webhooks webhooks/dead-letters event-types customers"
        " connectors sync-jobs dead-letters"
        " orders tags topsecrets orders/changes"
    )
    found = {path: client.get(f"/api/v1/{path}").json() for path in paths.split()}
    for key in found["api-keys"]["items"]:
        key.pop("lastUsedAt")  # of the key that looks
    found["orders/changes"].pop("next")  # moves with whatever commits
    return found


def test_every_route_is_asked() -> None:
    served = set(routes.served()) - routes.ELSEWHERE
    missing = served - ASKS.keys() - PUBLIC.keys()
    assert not missing, (
        "Say in tests/facade/routes.py how to ask these for what another tenant has (ASKS), or "
        f"that they are the same to everybody (PUBLIC): {sorted(missing)}"
    )
    assert (ASKS.keys() | PUBLIC.keys()) - served == set(), "these are served no more"


def test_what_another_tenant_has_is_as_if_it_were_not(two: Two) -> None:
    before = everything(two.theirs)
    assert MARK in json.dumps(before)
    told = []
    for route, asks in ASKS.items():
        method = route.partition(" ")[0]
        for ask in asks:
            theirs, nobodys = ask.filled(two.real), ask.filled(two.made_up)
            answer = theirs.send(two.mine, method)
            found, wanted = (
                seen(answer, two.real),
                seen(nobodys.send(two.mine, method), two.made_up),
            )
            assert answer.status_code < 500, (route, ask, answer.text)
            if found != wanted:
                told.append((route, theirs, found, wanted))
            if MARK in answer.text.lower() and theirs == ask:
                told.append((route, ask, found, "their words"))
    assert told == []
    assert everything(two.theirs) == before


def test_each_request_finds_what_it_asks_for_in_its_own_tenant(two: Two) -> None:
    """Else the test above compared two refusals of a request that nobody could make."""
    wrong = []
    for route, asks in ASKS.items():
        if not route.startswith(("GET ", "HEAD ", "POST /graphql")) and "query" not in route:
            continue
        method = route.partition(" ")[0]
        for ask in asks:
            if "mutation" in str(ask.body) or "/rejects" in ask.path or "/events" in ask.path:
                continue
            if ask.path.startswith("/PLURAL/ORDER"):
                continue  # an order is none of those
            own = ask.filled(two.real)
            answer = own.send(two.theirs, method)
            if answer.status_code not in (200, 304) or answer.text.startswith('{"errors"'):
                wrong.append((route, own, answer.status_code, answer.text))
    assert {route for route, *_ in wrong} == NOT_THERE_YET, wrong


class TestCredentials:
    @pytest.fixture
    def lesser(self, standing: Standing) -> dict[str, str]:
        """The key that lacks the scope, by the scope needed."""
        read = make_key(standing.owner, standing.tenant, "read")
        return {"write": read, "admin": make_key(standing.owner, standing.tenant, "write")}

    @pytest.fixture
    def nameless(self, two: Two) -> Iterator[httpx.Client]:
        with httpx.Client(base_url=two.mine.base_url, timeout=30) as client:
            yield client

    def test_who_has_none_or_a_wrong_one_is_nobody(self, two: Two, nameless: httpx.Client) -> None:
        wrong = []
        for route, asks in ASKS.items():
            ask, method = asks[0].filled(two.made_up), route.partition(" ")[0]
            for credential in (
                {},
                {"X-API-Key": new_api_key().text},
                {"X-API-Key": "hw_live_nonsense"},
                {"Authorization": "Bearer nonsense"},
            ):
                answer = ask.send(nameless, method, **credential)
                if answer.status_code != 401 or "www-authenticate" not in answer.headers:
                    wrong.append((route, credential, answer.status_code, answer.text))
        assert wrong == []

    def test_everybody_may_ask_what_is_public(self, two: Two, nameless: httpx.Client) -> None:
        for route, ask in PUBLIC.items():
            answer = ask.send(nameless, route.partition(" ")[0])
            assert answer.status_code == 200, (route, answer.text)
            assert MARK not in answer.text.lower()

    def test_too_little_scope_is_refused_as_the_document_says(
        self, two: Two, lesser: dict[str, str], nameless: httpx.Client
    ) -> None:
        document = two.mine.get("/api/v1/openapi.json").json()
        wrong = []
        for route, asks in ASKS.items():
            method, _, path = route.partition(" ")
            if method == "HEAD" or path == "/graphql":
                continue
            ask = asks[0].filled(two.real)
            operation = document["paths"][documented(path, asks[0])][method.lower()]
            [scope] = operation["security"][1]["OAuth2"]
            assert {"401", "403"} <= operation["responses"].keys(), route
            assert operation["security"][0] == {"ApiKeyAuth": []}
            enough = ask.send(nameless, method, **{"X-API-Key": lesser["write"]})
            if scope == "read" and enough.status_code in (401, 403):
                wrong.append((route, "read is not enough", enough.text))
            if scope == "read":
                continue
            answer = ask.send(nameless, method, **{"X-API-Key": lesser[scope]})
            if answer.status_code != 403 or answer.json()["code"] != "auth.forbidden":
                wrong.append((route, scope, answer.status_code, answer.text))
        assert wrong == []

    def test_reading_alone_mutates_nothing_by_graphql(
        self, two: Two, lesser: dict[str, str], nameless: httpx.Client
    ) -> None:
        for ask in ASKS["POST /graphql"]:
            answer = ask.filled(two.real).send(nameless, "POST", **{"X-API-Key": lesser["write"]})
            refused = "auth.forbidden" in answer.text
            assert refused == ("mutation" in ask.body["query"]), answer.text


def documented(path: str, ask: Ask) -> str:
    """The path of the document that the request of a route goes to."""
    below = path.removeprefix("/api/v1").replace(":uuid}", "}")
    if "{plural}" not in below:
        return below
    _, plural, *rest = ask.path.partition("?")[0].split("/")
    relation = rest[1] if len(rest) > 1 else ""
    return below.replace("{plural}", plural).replace("{relation}", relation)

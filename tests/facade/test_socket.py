"""WebSocket /graphql as clients meet it: who is let in, what ends it, what is told and to whom."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect as connect_socket

from tests.facade.conftest import Standing, make_key
from tests.plugins.socket_client import GraphqlSocket

INIT = {"type": "connection_init"}
ASK = {"type": "subscribe", "id": "1", "payload": {"query": "{ schemaVersion }"}}
FOLLOW = {
    "type": "subscribe",
    "id": "1",
    "payload": {"query": "subscription { noteCreated { id } }"},
}
NOTE = {
    "name": "Note",
    "pluralName": "Notes",
    "fields": [{"name": "text", "type": "text"}, {"name": "rank", "type": "integer"}],
    "relationships": [{"name": "author", "type": "manyToOne", "targetEntity": "Author"}],
}
AUTHOR = {"name": "Author", "pluralName": "Authors", "fields": [{"name": "name", "type": "text"}]}


@pytest.fixture(scope="module")
def client(standing: Standing) -> Iterator[httpx.Client]:
    with standing.client() as made:
        for definition in (AUTHOR, NOTE):
            assert made.post("/api/v1/entities", json=definition).status_code == 201
        yield made


def write(client: httpx.Client, **values: Any) -> dict[str, Any]:
    answer = client.post("/api/v1/notes", json=values)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def patch(client: httpx.Client, note: dict[str, Any], **values: Any) -> None:
    assert client.patch(f"/api/v1/notes/{note['id']}", json=values).status_code == 200


def told(socket: GraphqlSocket, operation: str) -> dict[str, Any]:
    """The payload of the next event, which must be the operation's."""
    message = socket.hear()
    assert (message["type"], message["id"]) == ("next", operation), message
    return dict(message["payload"])


ENDINGS: list[tuple[str, list[Any], int]] = [
    ("no JSON", ["{"], 4400),
    ("no object", [[1]], 4400),
    ("no type", [{"payload": {}}], 4400),
    ("unknown type", [{"type": "start"}], 4400),
    ("binary", [b"{}"], 4400),
    ("a name twice", ['{"type":"ping","type":"pong"}'], 4400),
    ("too deep", ["[" * 10_000 + "]" * 10_000], 4400),
    ("half a surrogate pair", ['{"type":"ping","payload":{"a":"\\ud800"}}'], 4400),
    ("a payload of the wrong type", [{"type": "connection_init", "payload": 1}], 4400),
    (
        "a credential of the wrong type",
        [{"type": "connection_init", "payload": {"apiKey": 1}}],
        4403,
    ),
    ("operation before anything", [ASK], 4401),
    ("no credential", [INIT], 4403),
    ("malformed", [{**INIT, "payload": {"apiKey": "secret"}}], 4403),
    ("two", [{**INIT, "payload": {"apiKey": "$KEY", "Authorization": "Bearer $OTHER"}}], 4403),
    ("too big", ['{"type":"ping","payload":{"a":"' + "é" * 600_000 + '"}}'], 1009),
    ("far too big", ['"' + "a" * 3_000_000 + '"'], 1009),
    ("init twice", ["$INIT", INIT], 4429),
    ("no id", ["$INIT", {**ASK, "id": None}], 4400),
    ("empty id", ["$INIT", {**ASK, "id": ""}], 4400),
    ("no query", ["$INIT", {**ASK, "payload": {}}], 4400),
    ("query is a number", ["$INIT", {**ASK, "payload": {"query": 7}}], 4400),
    (
        "variables are a list",
        ["$INIT", {**ASK, "payload": {"query": "{a}", "variables": []}}],
        4400,
    ),
    ("an id twice", ["$INIT", FOLLOW, FOLLOW], 4409),
]


@pytest.mark.parametrize(
    ("messages", "code"), [(m, c) for _, m, c in ENDINGS], ids=[n for n, _, _ in ENDINGS]
)
def test_what_the_protocol_forbids_ends_the_connection_with_its_code(
    standing: Standing, client: httpx.Client, messages: list[Any], code: int
) -> None:
    other = make_key(standing.owner, standing.tenant)
    with GraphqlSocket(standing.url) as socket:
        for message in messages:
            if message == "$INIT":
                message = {**INIT, "payload": {"apiKey": standing.key}}
            if isinstance(message, dict):
                text = json.dumps(message).replace("$KEY", standing.key).replace("$OTHER", other)
                socket.say(text)
            else:
                socket.say(message)
        assert socket.code() == code


def test_a_client_without_the_sub_protocol_is_closed_with_4406(standing: Standing) -> None:
    for protocols in ((), ("graphql-ws",)):
        with GraphqlSocket(standing.url, protocols=protocols) as socket:
            assert socket.code() == 4406


def test_a_client_that_says_nothing_is_closed_with_4408(
    standing: Standing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.subscriptions.socket.INIT_SECONDS", 0.2)
    with GraphqlSocket(standing.url) as socket:
        assert socket.code() == 4408


@pytest.mark.parametrize(
    "credential",
    [
        {"apiKey": "$KEY"},
        {"X-API-Key": "$KEY"},
        {"x-api-key": "$KEY", "more": [1]},
        {"Authorization": "Bearer $KEY"},
        {"headers": {"authorization": "bearer $KEY"}},
    ],
)
def test_the_key_may_come_in_connection_init(standing: Standing, credential: Any) -> None:
    with GraphqlSocket(standing.url) as socket:
        payload = json.loads(json.dumps(credential).replace("$KEY", standing.key))
        socket.say({**INIT, "payload": payload})
        ack = socket.hear()
        assert ack["type"] == "connection_ack"
        assert ack["payload"]["schemaVersion"] >= 1


def test_the_key_may_come_with_the_upgrade_and_must_be_allowed_to_read(
    standing: Standing, client: httpx.Client
) -> None:
    with GraphqlSocket(standing.url, headers={"X-API-Key": standing.key}) as socket:
        socket.say(INIT)
        assert socket.hear()["type"] == "connection_ack"
    reader = make_key(standing.owner, standing.tenant, "read")
    with GraphqlSocket(standing.url, reader) as socket:
        mutation = 'mutation { createNote(input: {text: "x"}) { id } }'
        socket.say({"type": "subscribe", "id": "w", "payload": {"query": mutation}})
        refused = socket.hear()
        assert refused["type"] == "error"
        assert refused["payload"][0]["extensions"]["code"] == "auth.forbidden"


def test_pages_of_other_sites_and_other_addresses_are_refused(standing: Standing) -> None:
    for origin in ("https://evil.example", "null"):
        with pytest.raises(InvalidStatus) as refused:
            GraphqlSocket(standing.url, origin=origin)
        assert refused.value.response.status_code == 403
    with GraphqlSocket(standing.url, standing.key, origin=standing.url):
        pass
    with pytest.raises(InvalidStatus) as refused:
        connect_socket(standing.url.replace("http", "ws") + "/api/v1/notes")
    assert refused.value.response.status_code == 403


def test_queries_and_mutations_are_answered_as_over_http(
    standing: Standing, client: httpx.Client
) -> None:
    with GraphqlSocket(standing.url, standing.key) as socket:
        query = "mutation($t: String) { made: createNote(input: {text: $t}) { text version } }"
        payload = {"query": query, "variables": {"t": "by socket"}}
        socket.say({"type": "subscribe", "id": "m", "payload": payload})
        assert told(socket, "m") == {"data": {"made": {"text": "by socket", "version": 1}}}
        assert socket.hear() == {"id": "m", "type": "complete"}
        wrong = "{ notes { items { nothing } } }"
        socket.say({"type": "subscribe", "id": "m", "payload": {"query": wrong}})
        refused = socket.hear()
        assert (refused["type"], refused["id"]) == ("error", "m")
        over_http = client.post("/graphql", json={"query": wrong}).json()["errors"]
        for found in [*refused["payload"], *over_http]:
            del found["extensions"]["requestId"]
        assert refused["payload"] == over_http


def test_events_carry_the_record_as_it_was_then_and_only_where_it_passes(
    standing: Standing, client: httpx.Client
) -> None:
    author = client.post("/api/v1/authors", json={"name": "Ada"}).json()
    with GraphqlSocket(standing.url, standing.key) as socket:
        shown = "id text author { name }"
        socket.subscribe("all", f"subscription {{ noteUpdated {{ {shown} }} }}")
        socket.subscribe(
            "big",
            "subscription($f: NoteFilterInput) { it: noteUpdated(filter: $f) { rank } }",
            f={"rank_gte": 10, "author": {"name": "Ada"}},
        )
        note = write(client, text="a", rank=1, authorId=author["id"])
        for text, rank in (("b", 5), ("c", 10), ("c", 11)):  # quickly: three events all the same
            patch(client, note, text=text, rank=rank)
        events: dict[str, list[Any]] = {"all": [], "big": []}
        for _ in range(5):
            message = socket.hear()
            events[message["id"]].append(message["payload"])
        assert [e["data"]["noteUpdated"]["text"] for e in events["all"]] == ["b", "c", "c"]
        assert events["all"][0]["data"]["noteUpdated"]["author"] == {"name": "Ada"}
        assert [e["extensions"]["changedFields"] for e in events["all"]] == [
            ["text", "rank"],
            ["text", "rank"],
            ["rank"],
        ]
        assert [e["data"]["it"] for e in events["big"]] == [{"rank": 10}, {"rank": 11}]
        cursors = [e["extensions"]["cursor"] for e in events["all"]]
        assert len(set(cursors)) == 3
        assert [e["extensions"]["cursor"] for e in events["big"]] == cursors[1:]

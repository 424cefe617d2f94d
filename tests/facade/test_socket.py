"""WebSocket /graphql as clients meet it: who is let in, what ends it, what is told and to whom."""

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect as connect_socket

from hubblewave_pipelines.storage import tenants
from hubblewave_pipelines.storage.database import Database
from hubblewave_pipelines.storage.tenants import Tenant
from tests.facade.conftest import Standing, make_key, serving, settings_for
from tests.plugins.socket_client import GraphqlSocket
from tests.plugins.stack import eventually

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


def test_a_subscription_resumes_after_any_place_of_its_feed(
    standing: Standing, client: httpx.Client
) -> None:
    start = client.get("/api/v1/notes/changes?since=now").json()["next"]
    notes = [write(client, text=f"resumed {n}") for n in range(5)]
    query = "subscription($s: String) { noteCreated(since: $s) { id } }"
    with GraphqlSocket(standing.url, standing.key) as socket:
        socket.say(
            {"type": "subscribe", "id": "r", "payload": {"query": query, "variables": {"s": start}}}
        )
        events = [told(socket, "r") for _ in notes]
        assert [e["data"]["noteCreated"]["id"] for e in events] == [n["id"] for n in notes]
        socket.say({"type": "complete", "id": "r"})
        after = {"s": events[2]["extensions"]["cursor"]}
        socket.say(
            {"type": "subscribe", "id": "r", "payload": {"query": query, "variables": after}}
        )
        again = [told(socket, "r") for _ in notes[3:]]
        assert again == events[3:]
        more = write(client, text="after catching up")
        assert told(socket, "r")["data"]["noteCreated"]["id"] == more["id"]
        elsewhere = {"s": client.get("/api/v1/authors/changes?since=now").json()["next"]}
        for wrong in (elsewhere, {"s": "nonsense"}, {"s": ""}):
            socket.say(
                {"type": "subscribe", "id": "w", "payload": {"query": query, "variables": wrong}}
            )
            refused = socket.hear()
            assert (refused["type"], refused["id"]) == ("error", "w")
            assert refused["payload"][0]["extensions"]["code"] == "request.cursor_mismatch"


def test_deletion_and_return_are_told_with_what_the_record_was(
    standing: Standing, client: httpx.Client
) -> None:
    note = write(client, text="keep", rank=1)
    patch(client, note, rank=7)
    with GraphqlSocket(standing.url, standing.key) as socket:
        socket.subscribe("d", "subscription { noteDeleted(filter: {rank: 7}) }")
        socket.subscribe("other", "subscription { noteDeleted(filter: {rank: 8}) }")
        socket.subscribe("c", "subscription { noteCreated { text rank version } }")
        assert client.delete(f"/api/v1/notes/{note['id']}").status_code == 204
        assert told(socket, "d")["data"] == {"noteDeleted": note["id"]}
        back = client.post(f"/api/v1/notes/{note['id']}/restore", json={"version": 1})
        assert back.status_code in (200, 201), back.text
        event = told(socket, "c")
        assert event["data"]["noteCreated"] == {"text": "keep", "rank": 1, "version": 4}


def test_a_transaction_that_stays_open_holds_events_back_and_loses_none(
    standing: Standing, client: httpx.Client
) -> None:
    with GraphqlSocket(standing.url, standing.key) as socket:
        with standing.owner.connect(autocommit=False) as held:
            held.execute("select pg_current_xact_id()")
            socket.subscribe("c", "subscription { noteCreated { id } }")
            notes = [write(client, text=f"held {n}") for n in range(3)]
            patch(client, notes[0], text="and changed")
            with pytest.raises(TimeoutError):
                socket.hear(0.5)
            held.rollback()
        heard = [told(socket, "c")["data"]["noteCreated"]["id"] for _ in notes]
        assert heard == [note["id"] for note in notes]


def test_another_tenant_hears_nothing(standing: Standing, client: httpx.Client) -> None:
    with standing.owner.transaction() as tx:
        other = tx.one(tenants.insert_tenant("listener", "Listener", "enterprise"))
        assert other is not None
        for step in tenants.create_schema(other):
            tx.run(step)
    key = make_key(standing.owner, other)
    with standing.client(key) as theirs, GraphqlSocket(standing.url, key) as socket:
        for definition in (AUTHOR, NOTE):
            assert theirs.post("/api/v1/entities", json=definition).status_code == 201
        socket.subscribe("c", "subscription { noteCreated { id } }")
        write(client, text="not for them")
        own = write(theirs, text="for them")
        assert told(socket, "c")["data"]["noteCreated"]["id"] == own["id"]
        cursor = client.get("/api/v1/notes/changes?since=now").json()["next"]
        query = f'subscription {{ noteCreated(since: "{cursor}") {{ id }} }}'
        socket.say({"type": "subscribe", "id": "x", "payload": {"query": query}})
        assert socket.hear()["type"] == "error"


def test_a_revoked_or_expired_key_ends_its_open_sockets(
    standing: Standing, client: httpx.Client
) -> None:
    made = client.post("/api/v1/api-keys", json={"name": "socket", "scopes": ["read"]}).json()
    with GraphqlSocket(standing.url, made["key"]) as socket:
        with GraphqlSocket(standing.url, standing.key) as lasting:
            socket.subscribe("c", "subscription { noteCreated { id } }")
            assert client.delete(f"/api/v1/api-keys/{made['id']}").status_code in (200, 204)
            assert socket.code() == 4403
            lasting.say({"type": "ping"})
            assert lasting.hear()["type"] == "pong"

    expiring = client.post("/api/v1/api-keys", json={"name": "brief", "scopes": ["read"]}).json()
    with (
        GraphqlSocket(standing.url, expiring["key"]) as socket,
        GraphqlSocket(standing.url, standing.key) as lasting,
    ):
        socket.subscribe("c", "subscription { noteCreated { id } }")
        with standing.owner.connect() as owner:
            owner.execute(
                "update hubblewave.api_keys set expires_at = now() + interval '1 second'"
                " where id = %s",
                [expiring["id"]],
            )
        assert socket.code() == 4403
        lasting.say({"type": "ping"})
        assert lasting.hear()["type"] == "pong"
        with GraphqlSocket(standing.url) as again:
            again.say({**INIT, "payload": {"apiKey": expiring["key"]}})
            assert again.code() == 4403


def test_subscriptions_follow_a_change_of_definition_or_say_why_not(
    standing: Standing, client: httpx.Client
) -> None:
    definition = {
        "name": "Task",
        "pluralName": "Tasks",
        "fields": [{"name": "title", "type": "text"}, {"name": "old", "type": "text"}],
    }
    assert client.post("/api/v1/entities", json=definition).status_code == 201
    with GraphqlSocket(standing.url, standing.key) as socket:
        socket.subscribe("stays", "subscription { taskCreated { title } }")
        socket.subscribe("ends", "subscription { taskCreated { title old } }")
        assert client.post("/api/v1/tasks", json={"title": "one"}).status_code == 201
        assert {socket.hear()["id"], socket.hear()["id"]} == {"stays", "ends"}
        definition["fields"] = [
            {"name": "title", "type": "text"},
            {"name": "fresh", "type": "text"},
        ]
        changed = client.put("/api/v1/entities/Task?force=true", json=definition)
        assert changed.status_code == 200, changed.text
        assert client.post("/api/v1/tasks", json={"title": "two", "fresh": "x"}).status_code == 201
        heard = {message["id"]: message for message in (socket.hear(), socket.hear())}
        assert heard["stays"]["payload"]["data"] == {"taskCreated": {"title": "two"}}
        assert heard["ends"]["type"] == "error"
        [error] = heard["ends"]["payload"]
        assert "old" in error["message"]
        assert error["extensions"]["code"] == "graphql.invalid"
        query = (
            f'subscription {{ taskCreated(since: "{error["extensions"]["cursor"]}") {{ fresh }} }}'
        )
        socket.say({"type": "subscribe", "id": "again", "payload": {"query": query}})
        assert told(socket, "again")["data"] == {"taskCreated": {"fresh": "x"}}
        removed = client.delete("/api/v1/entities/Task?force=true")
        assert removed.status_code in (200, 204), removed.text
        ended = [socket.hear(), socket.hear()]
        assert {message["id"] for message in ended} == {"stays", "again"}
        assert {message["type"] for message in ended} == {"error"}


def test_a_client_that_does_not_read_is_dropped_to_its_cursor_and_delays_nobody(
    standing: Standing, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.subscriptions.outbox.MOST_BYTES", 3_000_000)
    text = "x" * 300_000
    query = "subscription($s: String) { noteCreated(since: $s) { id text } }"
    with (
        GraphqlSocket(standing.url, standing.key, receive_buffer=65_536) as slow,
        GraphqlSocket(standing.url, standing.key) as quick,
    ):
        slow.subscribe("s", query)
        quick.subscribe("q", query)
        written, heard = [], []
        for _ in range(60):
            written.append(write(client, text=text)["id"])
            heard.append(told(quick, "q")["data"]["noteCreated"]["id"])
        assert heard == written
        late = []
        while True:
            message = slow.hear()
            if message["type"] == "error":
                break
            late.append(message["payload"]["data"]["noteCreated"]["id"])
        [error] = message["payload"]
        assert error["extensions"]["code"] == "subscription.lagging"
        cursor = error["extensions"]["cursor"]
        assert late == written[: len(late)]
        assert len(late) < len(written)
        slow.say(
            {
                "type": "subscribe",
                "id": "s",
                "payload": {"query": query, "variables": {"s": cursor}},
            }
        )
        for record in written[len(late) :]:
            assert told(slow, "s")["data"]["noteCreated"]["id"] == record


def test_operations_of_a_connection_and_connections_of_a_tenant_are_bounded(
    standing: Standing, client: httpx.Client
) -> None:
    query = "subscription { noteCreated { id } }"
    with GraphqlSocket(standing.url, standing.key) as socket:
        for n in range(100):
            socket.say({"type": "subscribe", "id": str(n), "payload": {"query": query}})
        socket.say({"type": "subscribe", "id": "more", "payload": {"query": query}})
        refused = socket.hear()
        assert (refused["type"], refused["id"]) == ("error", "more")
        socket.say({"type": "complete", "id": "0"})
        socket.say({"type": "subscribe", "id": "more", "payload": {"query": query}})
        socket.say({"type": "ping"})
        assert socket.hear()["type"] == "pong"
        note = write(client, text="for all")
        heard = [socket.hear() for _ in range(100)]
        assert {message["id"] for message in heard} == {*map(str, range(1, 100)), "more"}
        assert {m["payload"]["data"]["noteCreated"]["id"] for m in heard} == {note["id"]}
        for line in (
            "subscriptions_active 100.0",
            "websockets_open 1.0",
            "change_feed_lag_seconds",
        ):
            eventually(
                lambda line=line: f"hubblewave_{line}" in client.get("/metrics").text,  # type: ignore[misc]
                line,
            )
    eventually(
        lambda: "hubblewave_subscriptions_active 0.0" in client.get("/metrics").text,
        "subscriptions end with their socket",
    )


def test_a_tenant_has_so_many_sockets_and_no_more_and_takes_none_from_others(
    database_url: str,
    data_dir: Path,
    owner_database: Database,
    tenant: Tenant,
    other_tenant: Tenant,
) -> None:
    few = settings_for(database_url, data_dir, websocket_connections_per_tenant=2)
    keys = [make_key(owner_database, tenant, "read") for _ in range(3)]

    def refused(key: str) -> int:
        with GraphqlSocket(url) as socket:
            socket.say({**INIT, "payload": {"apiKey": key}})
            return socket.code()

    with serving(few) as url, GraphqlSocket(url, keys[0]):
        with GraphqlSocket(url, keys[1]) as second:
            assert [refused(key) for key in keys] == [1013] * 3
            with (
                GraphqlSocket(url, make_key(owner_database, other_tenant)) as theirs,
                GraphqlSocket(url),  # who has not said who it is takes no place
            ):
                for socket in (theirs, second):
                    socket.say({"type": "ping"})
                    assert socket.hear()["type"] == "pong"

        def let_in() -> bool:
            with GraphqlSocket(url) as socket:
                socket.say({**INIT, "payload": {"apiKey": keys[2]}})
                try:
                    return bool(socket.hear()["type"] == "connection_ack")
                except ConnectionClosed:
                    return False

        eventually(let_in, "a socket that was closed makes room")


def test_whoever_joins_while_others_write_hears_everything_once_and_in_order(
    standing: Standing, client: httpx.Client
) -> None:
    """Each catches up by itself and then joins those who are there, at a moment of its own."""
    start = client.get("/api/v1/notes/changes?since=now").json()["next"]
    query = "subscription($s: String) { noteUpdated(since: $s) { id version } }"
    notes = [write(client, text="joined") for _ in range(3)]
    total = 120

    def keep_writing() -> None:
        with standing.client() as own:
            for n in range(total):
                patch(own, notes[n % 3], text=f"version {n}")

    writer = threading.Thread(target=keep_writing)
    with ExitStack() as stack:
        writer.start()
        sockets, firsts = [], [start]
        for n in range(6):
            socket = stack.enter_context(GraphqlSocket(standing.url, standing.key))
            variables = {"s": firsts[-1] if n % 2 else start}
            payload = {"query": query, "variables": variables}
            socket.say({"type": "subscribe", "id": "j", "payload": payload})
            heard = [told(socket, "j") for _ in range(6)]
            firsts.append(heard[-1]["extensions"]["cursor"])
            sockets.append((socket, heard))
        orders = []
        for socket, heard in sockets:
            while heard[-1]["data"]["noteUpdated"]["version"] < total // 3 + 1:
                heard.append(told(socket, "j"))
            order = [(e["data"]["noteUpdated"]["id"], e["extensions"]["cursor"]) for e in heard]
            orders.append(order)
    writer.join(60)
    full = max(orders, key=len)
    assert len(set(full)) == len(full) >= total - 2
    for order in orders:
        shared = order[: len(full)]
        begin = full.index(shared[0])
        assert shared == full[begin : begin + len(shared)]

"""PostgreSQL goes away and comes back: 503 with when to ask again, then everything as before."""

import asyncio
import os
import signal
import threading
import time
from typing import Any

import httpx
import pytest

from hubblewave_pipelines.core.errors import Unavailable
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage.database import AsyncDatabase, Database, Role, statement
from hubblewave_pipelines.storage.ddl import define
from hubblewave_pipelines.supervisor.postgres import EmbeddedPostgres
from tests.plugins.socket_client import GraphqlSocket

NOTE = {"name": "Note", "pluralName": "Notes", "fields": [{"name": "text", "type": "text"}]}


def go_away(postgres: EmbeddedPostgres) -> None:
    """Shut the server down so that `start` brings it back at the same address."""
    assert postgres.pid is not None
    os.kill(postgres.pid, signal.SIGINT)
    until = time.monotonic() + 60
    while postgres.alive():
        assert time.monotonic() < until, "the server did not stop"
        time.sleep(0.05)


@pytest.fixture
def database_url(own_server: EmbeddedPostgres) -> str:
    return own_server.url("hubblewave")


@pytest.fixture
def api_settings(api_settings: Settings) -> Settings:
    return api_settings.model_copy(update={"statement_timeout_seconds": 1.0})


def until_ready(client: httpx.Client) -> None:
    until = time.monotonic() + 60
    while client.get("/health/ready").status_code != 200:
        assert time.monotonic() < until, "the API did not recover"
        time.sleep(0.2)


def check_unavailable(answer: httpx.Response) -> None:
    assert answer.status_code == 503, answer.text
    assert answer.json()["code"] == "platform.unavailable"
    assert int(answer.headers["retry-after"]) >= 1


def test_requests_are_refused_while_the_database_is_gone_and_served_when_it_is_back(
    admin: httpx.Client, own_server: EmbeddedPostgres, owner_database: Database, tenant: Any
) -> None:
    define(owner_database, tenant, NOTE)
    made = admin.post("/api/v1/notes", json={"text": "before"})
    assert made.status_code == 201
    go_away(own_server)
    check_unavailable(admin.get("/api/v1/notes"))
    check_unavailable(admin.post("/api/v1/notes", json={"text": "lost"}))
    check_unavailable(admin.get("/api/v1/api-keys"))
    check_unavailable(admin.get("/health/ready"))
    assert admin.get("/health").status_code == 200
    own_server.start()
    until_ready(admin)
    assert [note["text"] for note in admin.get("/api/v1/notes").json()["items"]] == ["before"]
    assert admin.get("/api/v1/api-keys").status_code == 200


def test_a_gone_server_is_told_soon_and_a_busy_pool_is_waited_for(
    api_settings: Settings, own_server: EmbeddedPostgres
) -> None:
    """What is waited for is counted by the pool's own clock, so that a slow machine does not matter."""
    waits: list[float] = []

    async def hold_all(database: AsyncDatabase) -> None:
        """Whoever finds every connection in use waits on, though nothing came within a second."""
        async with database.transaction():
            waiting = asyncio.create_task(database.alone(statement("select 1")))
            while len(waits) < 3:  # its own, and both of who waits
                await asyncio.sleep(0.05)
        assert await waiting == (1,)

    async def ask() -> None:
        url = api_settings.require_database_url()
        database = AsyncDatabase(url, Role.APP, size=1)
        getconn = database._pool.getconn

        async def counted(timeout: float | None = None) -> Any:
            waits.append(timeout or 0)
            return await getconn(timeout)

        await database.open()
        await database.alone(statement("select 1"))
        database._pool.getconn = counted  # type: ignore[method-assign]
        async with database.transaction():
            pass
        waits.clear()
        await hold_all(database)
        assert waits[-1] == pytest.approx(4.0)
        await asyncio.to_thread(go_away, own_server)
        waits.clear()
        with pytest.raises(Unavailable):
            await database.alone(statement("select 1"))
        assert set(waits) == {1.0}
        await database.close()

    asyncio.run(ask())


def test_a_restart_between_requests_costs_none(
    admin: httpx.Client, own_server: EmbeddedPostgres, owner_database: Database, tenant: Any
) -> None:
    define(owner_database, tenant, NOTE)
    threads = [
        threading.Thread(target=httpx.get, args=(f"{admin.base_url}/api/v1/notes",), kwargs=kwargs)
        for kwargs in [{"headers": dict(admin.headers)}] * 8
    ]  # so that the pool holds several connections
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    go_away(own_server)
    own_server.start()
    for _ in range(12):
        answer = admin.get("/api/v1/notes")
        assert answer.status_code == 200, answer.text


def test_an_api_that_starts_before_its_database_serves_once_it_is_there(
    own_server: EmbeddedPostgres, owner_database: Database, tenant: Any, key_for: Any, request: Any
) -> None:
    key = key_for(tenant)
    owner_database.close()
    go_away(own_server)
    client = request.getfixturevalue("connect")(key)
    check_unavailable(client.get("/health/ready"))
    own_server.start()
    until_ready(client)
    assert client.get("/api/v1/api-keys").status_code == 200


def test_a_database_that_is_not_migrated_is_not_ready(
    own_server: EmbeddedPostgres, connect: Any
) -> None:
    with Database(own_server.url("hubblewave"), Role.OWNER).connect() as connection:
        connection.execute("drop schema hubblewave cascade")
    answer = connect(None).get("/health/ready")
    assert answer.status_code == 503
    assert "hubblewave migrate" in answer.json()["detail"]


def test_a_locked_record_is_refused_in_time_and_nothing_is_written(
    admin: httpx.Client, owner_database: Database, tenant: Any
) -> None:
    catalog = define(owner_database, tenant, NOTE)
    path = admin.post("/api/v1/notes", json={"text": "before"}).headers["location"]
    entity = catalog.named("Note")
    assert entity is not None
    with owner_database.connect(autocommit=False) as connection:
        connection.execute(f"select 1 from {entity.schema}.{entity.table} for update".encode())
        check_unavailable(admin.patch(path, json={"text": "late"}))
    assert admin.get(path).json()["text"] == "before"


def test_an_open_subscription_goes_on_where_it_was_when_the_database_is_back(
    admin: httpx.Client, own_server: EmbeddedPostgres, owner_database: Database, tenant: Any
) -> None:
    define(owner_database, tenant, NOTE)
    url, key = str(admin.base_url), admin.headers["x-api-key"]
    with GraphqlSocket(url, key) as socket:
        socket.subscribe("c", "subscription { noteCreated { text } }")
        go_away(own_server)
        socket.say({"type": "subscribe", "id": "q", "payload": {"query": "{ schemaVersion }"}})
        refused = socket.hear()
        assert refused["payload"][0]["extensions"]["code"] == "platform.unavailable"
        own_server.start()
        until_ready(admin)
        for text in ("one", "two"):
            assert admin.post("/api/v1/notes", json={"text": text}).status_code == 201
            event = socket.hear()
            assert event["payload"]["data"] == {"noteCreated": {"text": text}}

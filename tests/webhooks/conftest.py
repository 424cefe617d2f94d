"""A tenant with contacts, its API on a real socket, and receivers that answer challenges."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage.database import Database, statement
from hubblewave_pipelines.storage.ddl import define
from hubblewave_pipelines.storage.tenants import Tenant
from tests.facade.conftest import make_key, serving, settings_for
from tests.plugins.receiver import Receiver, Request, receiving
from tests.plugins.working import ALLOW

CONTACT = {
    "name": "Contact",
    "pluralName": "Contacts",
    "fields": [
        {"name": "email", "type": "email"},
        {"name": "score", "type": "integer"},
        {"name": "note", "type": "text"},
    ],
}


def say(writer: asyncio.StreamWriter, body: bytes, status: str = "200 OK", extra: str = "") -> None:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
    writer.write(head.encode() + body)


async def echo(request: Request, writer: asyncio.StreamWriter) -> None:
    """Answers 200, to a challenge with the challenge."""
    word = json.loads(request.body).get("challenge", "none")
    say(writer, json.dumps({"challenge": word}).encode())


class Switch:
    """A receiver's answer that a test changes; challenges are always answered well."""

    def __init__(self) -> None:
        self.status = "200 OK"
        self.extra = ""
        self.failing: Callable[[dict[str, Any]], bool] = lambda body: False
        self.gate = threading.Event()
        self.gate.set()
        self.open = 0
        self.most_open = 0

    async def __call__(self, request: Request, writer: asyncio.StreamWriter) -> None:
        body = json.loads(request.body)
        if "challenge" in body:
            await echo(request, writer)
            return
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            while not self.gate.is_set():
                await asyncio.sleep(0.01)
        finally:
            self.open -= 1
        status = "500 No" if self.failing(body) else self.status
        say(writer, b"{}", status, self.extra)


@pytest.fixture
def settings(database_url: str, data_dir: Path) -> Settings:
    return settings_for(database_url, data_dir, egress_allow=ALLOW)


@pytest.fixture
def api(settings: Settings, owner_database: Database, tenant: Tenant) -> Iterator[httpx.Client]:
    """A client with the admin scope of a tenant that has contacts."""
    define(owner_database, tenant, CONTACT)
    key = make_key(owner_database, tenant)
    with serving(settings) as url, httpx.Client(base_url=url, headers={"X-API-Key": key}) as client:
        client.timeout = httpx.Timeout(30)
        yield client


@pytest.fixture
def switch() -> Switch:
    return Switch()


@pytest.fixture
def receiver(switch: Switch) -> Iterator[Receiver]:
    with receiving(switch) as found:
        yield found
        switch.gate.set()


def made(answer: httpx.Response, status: int = 201) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json()


def subscribe(api: httpx.Client, url: str, *events: str, **more: Any) -> dict[str, Any]:
    """A webhook as its creation answers it; verified."""
    body = {"url": url, "events": list(events) or ["import.completed"], **more}
    answer = made(api.post("/api/v1/webhooks", json=body))
    assert answer["webhook"]["status"] == "enabled", answer
    return {**answer["webhook"], "plain": answer["secret"]}


def emit(owner: Database, tenant: Tenant, count: int, keys: int = 0) -> None:
    """Events `import.completed` with data {"n": 1...}; spread over `keys` ordering keys."""
    with owner.transaction() as tx:
        tx.run(
            statement(
                "insert into hubblewave.events (tenant_id, type, ordering_key, data)"
                " select %s, 'import.completed', 'k' || (case %s when 0 then g else g %% %s end),"
                " '{\"n\":' || g || '}' from generate_series(1, %s) g",
                (tenant.id, keys, max(keys, 1), count),
            )
        )


def rows(owner: Database, text: str, *params: object) -> list[tuple[Any, ...]]:
    with owner.transaction() as tx:
        return tx.all(statement(text, params))


def run_sql(owner: Database, text: str, *params: object) -> int:
    with owner.transaction() as tx:
        return tx.run(statement(text, params))


def bodies(receiver: Receiver) -> list[dict[str, Any]]:
    """What arrived, challenges left out."""
    found = [json.loads(request.body) for request in receiver.requests]
    return [body for body in found if "challenge" not in body]

"""A tenant with contacts, its API on a real socket, and receivers that answer challenges."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage.capture import capture
from hubblewave_pipelines.storage.database import Database, Role, statement
from hubblewave_pipelines.storage.ddl import define
from hubblewave_pipelines.storage.tenants import Tenant
from tests.conftest import cloned, make_tenant
from tests.facade.conftest import make_key, serving, settings_for
from tests.plugins.receiver import Receiver, Request, receiving
from tests.plugins.servers import Server
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


@dataclass(frozen=True)
class House:
    """A platform that the tests of a module use one after the other, each of them swept out."""

    settings: Settings
    owner: Database
    tenant: Tenant
    url: str
    key: str

    def sweep(self) -> None:
        """As if no test had been here: no webhook, event, delivery, record or kept answer."""
        ((table, history),) = rows(
            self.owner,
            "select t.schema_name || '.e_' || e.id, t.schema_name || '.h_' || e.id"
            " from hubblewave.entities e join hubblewave.tenants t on t.id = e.tenant_id"
            " where e.name = 'Contact'",
        )
        run_sql(self.owner, f"truncate {table}, {history}")
        for name in _SWEPT:
            run_sql(self.owner, f"delete from hubblewave.{name}")
        run_sql(self.owner, "alter sequence hubblewave.events_n restart")
        capture(self.owner, self.tenant.id)


_SWEPT = (
    "webhooks", "events", "webhook_delivery_log", "webhook_attempts", "idempotency_keys",
    "alert_mails",
)  # fmt: skip


@pytest.fixture(scope="module")
def house(
    server: Server, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    with cloned(server, template) as url:
        settings = settings_for(url, tmp_path_factory.mktemp("house"), egress_allow=ALLOW)
        owner = Database(url, Role.OWNER)
        tenant = make_tenant(owner, "default")
        define(owner, tenant, CONTACT)
        with serving(settings) as base:
            yield House(settings, owner, tenant, base, make_key(owner, tenant))
        owner.close()


@pytest.fixture
def shared(request: pytest.FixtureRequest) -> House | None:
    """None for a test that is marked `own_database`, because it changes what cannot be swept out."""
    if request.node.get_closest_marker("own_database"):
        return None
    found = request.getfixturevalue("house")
    assert isinstance(found, House)
    return found


@pytest.fixture
def database_url(shared: House | None, server: Server, template: str) -> Iterator[str]:
    if shared is None:
        with cloned(server, template) as url:
            yield url
    else:
        yield shared.settings.require_database_url()
        shared.sweep()


@pytest.fixture
def tenant(shared: House | None, owner_database: Database) -> Tenant:
    return make_tenant(owner_database, "default") if shared is None else shared.tenant


@pytest.fixture
def settings(shared: House | None, database_url: str, data_dir: Path) -> Settings:
    if shared is not None:
        return shared.settings
    return settings_for(database_url, data_dir, egress_allow=ALLOW)


@pytest.fixture
def api(
    shared: House | None, settings: Settings, owner_database: Database, tenant: Tenant
) -> Iterator[httpx.Client]:
    """A client with the admin scope of a tenant that has contacts."""
    with ExitStack() as opened:
        if shared is None:
            define(owner_database, tenant, CONTACT)
            key, url = make_key(owner_database, tenant), opened.enter_context(serving(settings))
        else:
            key, url = shared.key, shared.url
        client = httpx.Client(base_url=url, headers={"X-API-Key": key}, timeout=30)
        yield opened.enter_context(client)


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

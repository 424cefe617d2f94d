"""The real application on a real socket, and clients with keys of their own."""

import base64
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from uuid import UUID

import httpx
import psycopg
import pytest
import uvicorn

from api.app import create_app
from hubblewave_pipelines.core.identity import new_api_key
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage import tenants
from hubblewave_pipelines.storage.database import Database, Role
from hubblewave_pipelines.storage.tenants import Tenant
from hubblewave_pipelines.supervisor.postgres import EmbeddedPostgres
from hubblewave_pipelines.transfer.imports import run_import

SECRET_KEY = base64.b64encode(bytes(range(32))).decode()
Connect = Callable[..., httpx.Client]


def make_key(owner: Database, tenant: Tenant, *scopes: str) -> str:
    """The text of a new API key; admin unless scopes are named."""
    key = new_api_key()
    with owner.transaction() as tx:
        tx.run(
            tenants.insert_key(
                tenant.id,
                key,
                name="test",
                scopes=list(scopes or ("admin",)),
                plan=None,
                expires_at=None,
                created_by=None,
            )
        )
    return key.text


@contextmanager
def serving(settings: Settings) -> Iterator[str]:
    """The application served from a thread of this process; yields its base URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        create_app(settings), access_log=False, log_level="warning", timeout_graceful_shutdown=2
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    until = time.monotonic() + 20
    while not server.started:
        assert thread.is_alive(), "the server stopped while it started"
        assert time.monotonic() < until, "the server did not start"
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(20)
    listener.close()


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def api_process(database_url: str, data_dir: Path, **settings: str) -> Iterator[tuple[str, Path]]:
    """The application as `hubblewave up` starts it: its own process, configured by environment.
    Yields its base URL and the file that its log goes to.
    """
    port = free_port()
    log = data_dir / f"log-{port}"
    given = {"database_url": database_url, "data_dir": str(data_dir), "secret_key": SECRET_KEY}
    given |= settings
    arguments = ["-m", "uvicorn", "api.app:create_app", "--factory", "--port", str(port)]
    with log.open("wb") as out:
        started = subprocess.Popen(
            [sys.executable, *arguments, "--no-access-log"],
            env={f"HUBBLEWAVE_{name.upper()}": value for name, value in given.items()},
            stdout=out,
            cwd=Path(__file__).parents[2],
        )
        url = f"http://127.0.0.1:{port}"
        until = time.monotonic() + 60
        while True:
            try:
                httpx.get(f"{url}/health")
                break
            except httpx.TransportError:
                assert time.monotonic() < until, "the process did not start"
                assert started.poll() is None, "the process ended"
                time.sleep(0.1)
        yield url, log
        started.terminate()
        started.wait(30)


def settings_for(database_url: str, data_dir: Path, **more: object) -> Settings:
    """Settings of an API process; no Dagster answers, as when it is down."""
    given = {"database_url": database_url, "data_dir": data_dir, "log_level": "ERROR"}
    given |= {"secret_key": SECRET_KEY}
    return Settings.model_validate({**given, "dagster_url": "http://127.0.0.1:9", **more})


@pytest.fixture
def api_settings(database_url: str, data_dir: Path) -> Settings:
    return settings_for(database_url, data_dir)


@dataclass(frozen=True)
class Standing:
    """A platform that the tests of a module share, for tests that leave nothing behind."""

    url: str
    owner: Database
    tenant: Tenant
    key: str

    def client(self, key: str | None = None) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers={"X-API-Key": key or self.key}, timeout=30)


@pytest.fixture(scope="module")
def standing(
    server: EmbeddedPostgres, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Standing]:
    name = f"shared_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server.url("postgres", user="postgres"), autocommit=True) as admin:
        admin.execute(f"create database {name} template {template} owner hubblewave")
        owner = Database(server.url(name), Role.OWNER)
        with owner.transaction() as tx:
            tenant = tx.one(tenants.insert_tenant("default", "Default", "enterprise"))
            assert tenant is not None
            for step in tenants.create_schema(tenant):
                tx.run(step)
        with serving(settings_for(server.url(name), tmp_path_factory.mktemp("data"))) as url:
            yield Standing(url, owner, tenant, make_key(owner, tenant))
        owner.close()
        admin.execute(f"drop database {name} with (force)")


@pytest.fixture
def api_url(api_settings: Settings) -> Iterator[str]:
    with serving(api_settings) as url:
        yield url


@pytest.fixture
def connect(api_url: str) -> Iterator[Connect]:
    """Makes clients: `connect(key)`, or `connect(None)` without a credential."""
    opened: list[httpx.Client] = []

    def client(key: str | None, **headers: str) -> httpx.Client:
        credential = {} if key is None else {"X-API-Key": key}
        made = httpx.Client(base_url=api_url, headers={**credential, **headers}, timeout=30)
        opened.append(made)
        return made

    yield client
    for made in opened:
        made.close()


@pytest.fixture
def key_for(owner_database: Database) -> Callable[..., str]:
    """Makes API keys: `key_for(tenant, "read")`."""
    return partial(make_key, owner_database)


@pytest.fixture
def admin(connect: Connect, owner_database: Database, tenant: Tenant) -> httpx.Client:
    """A client with the admin scope in the tenant `default`."""
    return connect(make_key(owner_database, tenant))


@pytest.fixture
def other_admin(connect: Connect, owner_database: Database, other_tenant: Tenant) -> httpx.Client:
    """A client with the admin scope in the tenant `other`."""
    return connect(make_key(owner_database, other_tenant))


@pytest.fixture
def work_off(
    worker_database: Database, api_settings: Settings, tenant: Tenant
) -> Callable[[str], str]:
    """Does what the Dagster run does for one import; its status."""

    def work(import_id: str) -> str:
        return run_import(
            worker_database,
            api_settings,
            tenant.id,
            UUID(import_id),
            run_id="run-1",
            still_held=lambda: None,
            progress=lambda _: None,
        ).status

    return work

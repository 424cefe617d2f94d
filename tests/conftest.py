"""What every test stands on: a real PostgreSQL per worker, a cloned database per test."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from hypothesis import HealthCheck, settings

from hubblewave_pipelines.storage import tenants
from hubblewave_pipelines.storage.database import Database, Role
from hubblewave_pipelines.storage.tenants import Tenant
from hubblewave_pipelines.supervisor.postgres import EmbeddedPostgres
from hubblewave_pipelines.sync.installing import install

if TYPE_CHECKING:
    from tests.plugins.servers import Server

pytest_plugins = [
    "tests.plugins.stack",
    "tests.plugins.servers",
    "tests.plugins.browser",
    "tests.plugins.sandboxes",
]

# Two cores shared by parallel workers say nothing about the code's speed; `make bench` does.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# A change is judged by the same examples each time; looking for new ones is a developer's run.
settings.register_profile("ci", settings.get_profile("suite"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "suite")  # noqa: TID251 - not a setting of ours

for name in [name for name in os.environ if name.startswith(("HUBBLEWAVE_", "DAGSTER_"))]:  # noqa: TID251 - a developer's settings must not leak into tests
    del os.environ[name]  # noqa: TID251 - the same


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """A server of this test alone, which it may stop."""
    postgres = EmbeddedPostgres(tmp_path / "postgres", options={"fsync": "off"})
    postgres.start()
    install(postgres.url("hubblewave"))
    yield postgres
    if postgres.alive():
        postgres.stop()


@pytest.fixture(scope="session")
def template(server: "Server") -> str:
    """The name of a migrated database that tests clone."""
    with psycopg.connect(server.url("postgres", user="postgres"), autocommit=True) as connection:
        connection.execute("create database template_hubblewave owner hubblewave")
    install(server.url("template_hubblewave"))
    return "template_hubblewave"


@contextmanager
def cloned(server: "Server", template: str) -> Iterator[str]:
    """The URL of a migrated database, as its owner `hubblewave`; dropped in the end."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server.url("postgres", user="postgres"), autocommit=True) as connection:
        connection.execute(f"create database {name} template {template} owner hubblewave")
        yield server.url(name)
        connection.execute(f"drop database {name} with (force)")


@pytest.fixture
def database_url(server: "Server", template: str) -> Iterator[str]:
    """A migrated database of this test alone, as its owner `hubblewave`."""
    with cloned(server, template) as url:
        yield url


@pytest.fixture
def owner_database(database_url: str) -> Iterator[Database]:
    database = Database(database_url, Role.OWNER)
    yield database
    database.close()


@pytest.fixture
def app_database(database_url: str) -> Iterator[Database]:
    database = Database(database_url, Role.APP)
    yield database
    database.close()


@pytest.fixture
def worker_database(database_url: str) -> Iterator[Database]:
    database = Database(database_url, Role.WORKER)
    yield database
    database.close()


def make_tenant(owner: Database, slug: str) -> Tenant:
    """A tenant on the enterprise plan, with its schema."""
    with owner.transaction() as tx:
        tenant = tx.one(tenants.insert_tenant(slug, slug.title(), "enterprise"))
        assert tenant is not None, f"tenant {slug} exists"
        for step in tenants.create_schema(tenant):
            tx.run(step)
    return tenant


@pytest.fixture
def tenant(owner_database: Database) -> Tenant:
    return make_tenant(owner_database, "default")


@pytest.fixture
def other_tenant(owner_database: Database) -> Tenant:
    return make_tenant(owner_database, "other")


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data directory of this test alone."""
    path = tmp_path / "data"
    path.mkdir(mode=0o700)
    return path

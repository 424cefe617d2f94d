"""Dagster for tests: a platform whose imports are scripted, requests to it, a real instance."""

import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
from dagster._core.definitions.definitions_load_context import DefinitionsLoadContext

from hubblewave_pipelines.storage import work
from hubblewave_pipelines.storage.database import Database, statement
from hubblewave_pipelines.storage.tenants import Tenant
from hubblewave_pipelines.storage.work import WorkRequest
from hubblewave_pipelines.supervisor.postgres import EmbeddedPostgres
from tests.definitions.scripted import SCRIPTS, Script, ScriptedPlatform

ROOT = Path(__file__).parents[2]
_homes = itertools.count()


@pytest.fixture(autouse=True)
def own_load_context(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dagster keeps for the process which state definitions are built from, and each launch of a
    reconstructable job pins it: the next test would build from what this one pinned."""
    monkeypatch.setattr(DefinitionsLoadContext, "_instance", None)


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def platform(database_url: str, script: Script) -> Iterator[ScriptedPlatform]:
    SCRIPTS[database_url] = script
    scripted = ScriptedPlatform(url=database_url)
    yield scripted
    scripted.database.close()


@pytest.fixture
def ephemeral() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def ask(owner_database: Database, tenant: Tenant) -> Callable[..., WorkRequest]:
    """Ask for an import into an entity of tenant `acme`, as the API does, some time ago."""

    def _ask(slug: str = "airports", tenant_slug: str = "acme") -> WorkRequest:
        with owner_database.transaction() as tx:
            job = tx.one(
                statement(
                    "insert into hubblewave.import_jobs (tenant_id, entity_id, entity_name,"
                    " file_name, file_size, file_type, file_sha256, spool_path, mapping, options)"
                    " values (%s, 'aaaaaaaa', 'Airport', 'a.csv', 1, 'csv', '', 'a', '[]', '{}')"
                    " returning id",
                    (tenant.id,),
                )
            )
            assert job is not None
            request = tx.one(
                work.insert_request(
                    tenant.id, "import", job[0], ["import", tenant_slug, slug], None
                )
            )
            tx.run(
                statement("update hubblewave.work_requests set created_at = now() - interval '1 h'")
            )
        assert request is not None
        return request

    return _ask


@pytest.fixture
def state_of_request(owner_database: Database) -> Callable[[WorkRequest], WorkRequest]:
    def _read(request: WorkRequest) -> WorkRequest:
        with owner_database.transaction() as tx:
            found = tx.one(work.request_by_id(request.id))
        assert found is not None
        return found

    return _read


@dataclass(frozen=True)
class Home:
    """A DAGSTER_HOME of its own, on PostgreSQL, and the environment that leads to it."""

    path: Path
    environment: dict[str, str]

    def instance(self) -> dg.DagsterInstance:
        return dg.DagsterInstance.from_config(str(self.path))


@pytest.fixture(scope="session")
def dagster_template(server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database with Dagster's tables, to be cloned: making them takes seconds."""
    home = tmp_path_factory.mktemp("dagster-template")
    with psycopg.connect(server.url("postgres", user="postgres"), autocommit=True) as connection:
        connection.execute("create database template_dagster owner hubblewave")
    shutil.copy(ROOT / "dagster.yaml", home / "dagster.yaml")
    environment = {
        **os.environ,  # noqa: TID251 - a child inherits PATH and the like
        "DAGSTER_HOME": str(home),
        "HUBBLEWAVE_DATABASE_URL": server.url("postgres"),
        "HUBBLEWAVE_DAGSTER_DATABASE_URL": server.url(
            "template_dagster", driver="postgresql+psycopg2"
        ),
    }
    command = [sys.executable, "-m", "dagster", "instance", "migrate"]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return "template_dagster"


@pytest.fixture
def home(
    server: EmbeddedPostgres,
    dagster_template: str,
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Home]:
    """The instance of dagster.yaml, here and for child processes."""
    name = f"dagster_{next(_homes)}"
    path = tmp_path / "dagster"
    path.mkdir()
    shutil.copy(ROOT / "dagster.yaml", path / "dagster.yaml")
    variables: dict[str, Any] = {
        "DAGSTER_HOME": str(path),
        "HUBBLEWAVE_DATABASE_URL": database_url,
        "HUBBLEWAVE_DAGSTER_DATABASE_URL": server.url(name, driver="postgresql+psycopg2"),
        "HUBBLEWAVE_DATA_DIR": str(tmp_path / "data"),
    }
    for key, value in variables.items():
        monkeypatch.setenv(key, value)
    with psycopg.connect(server.url("postgres", user="postgres"), autocommit=True) as connection:
        connection.execute(f"create database {name} template {dagster_template} owner hubblewave")
        yield Home(path, {**os.environ})  # noqa: TID251 - a child inherits PATH and the like
        connection.execute(f"drop database {name} with (force)")

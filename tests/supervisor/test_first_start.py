"""What a fresh database needs, on servers of our own and of others."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import make_conninfo
from sqlalchemy import make_url
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2

from hubblewave_pipelines.core.errors import Misconfigured, Unavailable
from hubblewave_pipelines.storage.database import Database
from hubblewave_pipelines.storage.tenants import Tenant
from hubblewave_pipelines.supervisor import first_start
from tests.plugins.servers import PostgresOfMajor
from tests.plugins.stack import Up

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)


@given(
    user=NAMES,
    password=NAMES,
    host=st.sampled_from(["db.example.com", "127.0.0.1", "::1", "/run/postgresql", "a,b"]),
    port=st.integers(1, 65535),
)
def test_dagsters_url_reaches_the_same_server_with_the_same_credentials(
    user: str, password: str, host: str, port: int
) -> None:
    url = make_conninfo(host=host, port=port, user=user, password=password, dbname="hubblewave")
    made = first_start.dagster_url_beside(url)
    assert made.startswith("postgresql+psycopg2://")
    _, arguments = PGDialect_psycopg2().create_connect_args(make_url(made))
    assert arguments["user"] == user
    assert arguments["password"] == password
    assert arguments["host"] == host
    assert {int(each) for each in str(arguments["port"]).split(",")} == {port}
    assert arguments["dbname"] == "dagster"


@pytest.fixture(scope="module")
def external() -> Iterator[PostgresOfMajor]:
    """A server as an administrator hands it out, of the oldest version that serves us: no database
    `dagster`, a plain owner."""
    server = PostgresOfMajor(15, options={"fsync": "off", "shared_buffers": "32MB"})
    server.start()
    with psycopg.connect(server.url("postgres", user="postgres"), autocommit=True) as connection:
        connection.execute("drop database dagster")
        connection.execute("create role plain login")
        connection.execute("create database plain owner plain")
    yield server
    server.stop()


def test_a_missing_dagster_database_that_we_may_not_make_is_explained(
    external: PostgresOfMajor,
) -> None:
    url = external.url("plain", user="plain")
    with psycopg.connect(external.url("postgres", user="postgres"), autocommit=True) as connection:
        connection.execute("drop database if exists dagster with (force)")  # of another test
    with pytest.raises(Misconfigured, match="create database dagster owner plain"):
        first_start.make_dagster_database(url, first_start.dagster_url_beside(url))


def test_an_unreachable_database_is_named_by_its_setting() -> None:
    with pytest.raises(Unavailable, match="HUBBLEWAVE_DATABASE_URL"):
        first_start.require_reachable(
            "postgresql://nobody@127.0.0.1:1/none", "HUBBLEWAVE_DATABASE_URL"
        )


@pytest.mark.stack
@pytest.mark.xdist_group("stack")
def test_up_works_on_an_external_server_without_superuser(
    external: PostgresOfMajor, tmp_path: Path
) -> None:
    up = Up(tmp_path / "data", {"HUBBLEWAVE_DATABASE_URL": external.url()})
    up.start()
    ready = up.wait_ready()
    assert ready["database_url"] == external.url()
    assert up.get("/api/v1/entities")[0] == 200
    assert not (up.data_dir / "postgres").exists()
    assert up.stop() == 0
    assert up.processes() == []
    assert external.alive()
    checked = subprocess.run(
        [*Up.PROGRAM, "check", "--data-dir", str(up.data_dir)],
        env={**Up.environment(), "HUBBLEWAVE_DATABASE_URL": external.url()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout


def test_the_first_key_is_given_once(owner_database: Database, tenant: Tenant) -> None:
    assert first_start.make_first_tenant(owner_database) == tenant
    key = first_start.make_first_key(owner_database, tenant)
    assert key is not None
    assert key.startswith("hw_live_")
    assert first_start.make_first_key(owner_database, tenant) is None


def test_dagsters_home_holds_this_versions_files(tmp_path: Path) -> None:
    home = first_start.write_dagster_home(tmp_path / "dagster")
    (home / "dagster.yaml").write_text("from another version")
    first_start.write_dagster_home(home)
    assert "run_launcher" in (home / "dagster.yaml").read_text()
    assert "location_name: hubblewave" in (home / "workspace.yaml").read_text()
    assert {path.name for path in home.iterdir()} == {"dagster.yaml", "workspace.yaml"}

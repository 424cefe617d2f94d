"""The command line against a real database: what it prints, what it refuses, how it exits."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from hubblewave_pipelines.commands.keys import end_of
from hubblewave_pipelines.commands.line import app
from hubblewave_pipelines.core.errors import Invalid
from hubblewave_pipelines.core.identity import parse_api_key
from hubblewave_pipelines.storage import tenants
from hubblewave_pipelines.storage.database import Database
from hubblewave_pipelines.storage.tenants import Tenant
from hubblewave_pipelines.supervisor.postgres import EmbeddedPostgres

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch, database_url: str, tmp_path: Path) -> "Line":
    monkeypatch.setenv("HUBBLEWAVE_DATABASE_URL", database_url)
    monkeypatch.setenv("HUBBLEWAVE_DATA_DIR", str(tmp_path / "data"))
    return Line()


class Line:
    def __call__(self, *arguments: str) -> Result:
        return CliRunner().invoke(app, list(arguments))

    def json(self, *arguments: str) -> Any:
        result = self(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def refused(self, *arguments: str) -> dict[str, str]:
        result = self(*arguments, "--json")
        assert result.exit_code == 1, result.output
        assert result.stdout == ""
        error: dict[str, str] = json.loads(result.stderr)["error"]
        return error


def test_a_tenant_is_made_with_its_schema_and_listed(line: Line, database_url: str) -> None:
    made = line.json("tenants", "create", "acme", "--name", "Acme [Ltd]", "--plan", "professional")
    assert made[0]["slug"] == "acme"
    assert line.json("tenants", "list") == made
    assert "Acme [Ltd]" in line("tenants", "list").stdout
    with psycopg.connect(database_url) as connection:
        found = connection.execute(
            "select true from pg_namespace where nspname = %s", (made[0]["schema"],)
        ).fetchone()
    assert found == (True,)


def test_a_second_tenant_of_one_slug_is_refused(line: Line) -> None:
    line.json("tenants", "create", "acme")
    assert line.refused("tenants", "create", "acme")["code"] == "resource.conflict"


@pytest.mark.parametrize("slug", ["Acme", "1st", "a b", "a" * 40, "ä", "a'; drop"])
def test_a_slug_that_cannot_be_one_is_refused(line: Line, slug: str) -> None:
    assert "cannot be a tenant's slug" in line.refused("tenants", "create", slug)["detail"]


def test_a_key_opens_the_tenant_until_it_is_revoked(
    line: Line, tenant: Tenant, app_database: Database
) -> None:
    made = line.json("keys", "create", "--scope", "write", "--scope", "read", "--plan", "free")
    key = parse_api_key(made["api_key"])
    assert key is not None
    with app_database.transaction() as tx:
        principal = tx.one(tenants.authenticate(key))
    assert principal is not None
    assert (principal.tenant_id, principal.plan) == (tenant.id, "free")
    assert principal.scopes == {"read", "write"}
    listed = line.json("keys", "list")
    assert [item["id"] for item in listed] == [key.id]
    assert key.secret not in json.dumps(listed)
    line.json("keys", "revoke", key.id)
    with app_database.transaction() as tx:
        assert tx.one(tenants.authenticate(key)) is None


def test_keys_are_printed_as_json_also_without_asking(line: Line, tenant: Tenant) -> None:
    assert json.loads(line("keys", "create").stdout)["tenant"] == tenant.slug


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("--scope", "root"), "no scope 'root'"),
        (("--plan", "gold"), "no plan 'gold'"),
        (("--expires", "soon"), "neither a span"),
        (("--expires", "2001-01-01"), "in the past"),
        (("--tenant", "none"), "no tenant 'none'"),
    ],
)
def test_a_key_that_cannot_be_made_is_refused(
    line: Line, tenant: Tenant, arguments: tuple[str, ...], part: str
) -> None:
    assert part in line.refused("keys", "create", *arguments)["detail"]
    assert line.json("keys", "list") == []


def test_revoking_what_is_not_there_is_refused(line: Line, tenant: Tenant) -> None:
    assert line.refused("keys", "revoke", "aaaaaaaa")["code"] == "resource.not_found"


@given(days=st.integers(1, 99_999))
def test_a_span_is_counted_from_now(days: int) -> None:
    assert end_of(f"{days}d", NOW) == NOW + timedelta(days=days)


@given(moment=st.datetimes(timezones=st.just(UTC), min_value=datetime(2026, 3, 2)))  # noqa: DTZ001 - hypothesis adds the zone
def test_a_moment_is_read_as_it_is_written(moment: datetime) -> None:
    assert end_of(moment.isoformat(), NOW) == moment
    assert end_of(moment.replace(tzinfo=None).isoformat(), NOW) == moment


@given(text=st.text(max_size=12))
def test_any_other_text_is_refused_and_never_breaks(text: str) -> None:
    try:
        end = end_of(text, NOW)
    except Invalid:
        return
    assert end > NOW


def test_check_finds_a_database_without_tables(
    line: Line, server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(server.url("postgres", user="postgres"), autocommit=True) as connection:
        connection.execute("create database empty_one owner hubblewave")
    monkeypatch.setenv("HUBBLEWAVE_DATABASE_URL", server.url("empty_one"))
    result = line("check", "--json")
    assert result.exit_code == 1
    found = {item["what"]: item for item in json.loads(result.stdout)}
    assert found["database"]["state"] == "ok"
    assert "hubblewave migrate" in found["database schema"]["detail"]
    assert "hubblewave migrate" in line.refused("tenants", "list")["detail"]


def test_check_names_a_database_that_does_not_answer(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUBBLEWAVE_DATABASE_URL", "postgresql://x@127.0.0.1:1/none")
    result = line("check")
    assert result.exit_code == 1
    assert "wrong" in result.stdout


def test_check_before_the_first_start_finds_nothing_wrong(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HUBBLEWAVE_DATABASE_URL")
    monkeypatch.setenv("HUBBLEWAVE_API_PORT", "0")
    monkeypatch.setenv("HUBBLEWAVE_DAGSTER_PORT", "0")
    found = {item["what"]: item["state"] for item in line.json("check")}
    assert set(found.values()) == {"ok", "skipped"}
    assert found["embedded PostgreSQL"] == "ok"
    assert found["webhook transforms"] == "ok"


def test_commands_without_a_platform_say_how_to_start_one(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HUBBLEWAVE_DATABASE_URL")
    detail = line.refused("keys", "list")["detail"]
    assert "hubblewave up" in detail
    assert "HUBBLEWAVE_DATABASE_URL" in detail


def test_a_wrong_setting_is_named(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUBBLEWAVE_API_PORT", "eighty")
    monkeypatch.setenv("HUBBLEWAVE_RUN_SLOTS", "0")
    detail = line.refused("check")["detail"]
    assert "HUBBLEWAVE_API_PORT" in detail
    assert "HUBBLEWAVE_RUN_SLOTS" in detail


def test_a_secret_in_a_wrong_setting_is_not_shown(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUBBLEWAVE_DAGSTER_DATABASE_URL", "postgresql://u:hunter2@h/d")
    result = line("check")
    assert result.exit_code == 1
    assert "hunter2" not in result.output
    assert "psycopg2" in result.output


def test_an_unusable_data_directory_is_refused(line: Line, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "is not a directory" in line("check", "--data-dir", str(tmp_path / "file" / "d")).stdout
    refused = line.refused("up", "--data-dir", str(tmp_path / "file" / "d"), "--api-port", "0")
    assert "--data-dir" in refused["detail"]

"""What PostgreSQL refuses reaches the caller as a refusal of ours, after running again what may."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from hubblewave_pipelines.storage.database import Statement, statement
from hubblewave_pipelines.storage.ddl import define

PATH = "/api/v1/jars"
JAR = {"name": "Jar", "pluralName": "Jars", "fields": [{"name": "label", "type": "text"}]}


def failing(code: str) -> Statement[Any]:
    """A statement that PostgreSQL refuses with this SQLSTATE, and with SQL in its message."""
    raising = f"raise exception 'select secret from somewhere' using errcode = '{code}'"
    return statement(f"do $$ begin {raising}; end $$")


@pytest.fixture(scope="module")
def client(standing: Any) -> Iterator[httpx.Client]:
    define(standing.owner, standing.tenant, JAR)
    with standing.client() as client:
        yield client


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """Makes inserts fail with an SQLSTATE, the first `times` times; returns the list of attempts."""

    def refuse(code: str, times: int = 1000) -> list[int]:
        import api.writes

        insert, attempts = api.writes.insert_record, list[int]()

        def first_fails(*given: Any, **named: Any) -> Any:
            attempts.append(len(attempts) + 1)
            return failing(code) if len(attempts) <= times else insert(*given, **named)

        monkeypatch.setattr("api.writes.insert_record", first_fails)
        return attempts

    return refuse


@pytest.mark.parametrize("code", ["40001", "40P01", "42703", "42P01", "0A000"])
def test_a_request_that_may_succeed_is_run_again(
    client: httpx.Client, refuse: Callable[..., list[int]], code: str
) -> None:
    attempts = refuse(code, times=2)
    assert client.post(PATH, json={"label": "again"}).status_code == 201
    assert attempts == [1, 2, 3]


@pytest.mark.parametrize(
    ("code", "status", "runs"),
    [
        ("40P01", 503, 5),
        ("42P01", 503, 5),
        ("55P03", 503, 1),
        ("57014", 503, 1),
        ("53300", 503, 1),
        ("57P01", 503, 1),
        ("22003", 422, 1),
        ("23514", 422, 1),
        ("23P01", 409, 1),
        ("XX000", 500, 1),
        ("42601", 500, 1),
    ],
)
def test_what_cannot_succeed_is_refused_without_its_sql(
    client: httpx.Client, refuse: Callable[..., list[int]], code: str, status: int, runs: int
) -> None:
    attempts = refuse(code)
    answer = client.post(PATH, json={"label": "never"})
    assert answer.status_code == status, answer.text
    assert len(attempts) == runs
    assert "secret" not in answer.text
    assert ("retry-after" in answer.headers) == (status == 503)
    found = client.get(PATH, params={"filter[label]": "never"})
    assert found.json()["items"] == []


def test_a_connection_lost_while_committing_is_told_apart(
    client: httpx.Client, standing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write may or may not have happened, and the answer says so."""
    import api.writes

    insert = api.writes.insert_record

    def doomed(*given: Any, **named: Any) -> Any:
        built = insert(*given, **named)
        kill = "select pg_terminate_backend(pid) from pg_stat_activity where datname = "
        kill += "current_database() and application_name = 'hubblewave app' and state <> 'idle'"

        def row(found: Any) -> Any:
            with standing.owner.connect() as connection:
                connection.execute(kill.encode())
            return built.row(found)

        return Statement(built.text, built.params, row)

    monkeypatch.setattr("api.writes.insert_record", doomed)
    answer = client.post(PATH, json={"label": "lost"})
    assert answer.status_code == 503
    assert "while committing" in answer.json()["detail"]

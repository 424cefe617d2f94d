"""`hubblewave check`: what is wrong with an installation, and what to do about each thing."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import psycopg
import redis

from hubblewave_pipelines.commands.connector_checks import checked
from hubblewave_pipelines.core.errors import PlatformError
from hubblewave_pipelines.core.stream import Level
from hubblewave_pipelines.delivery.transforms import lock_down_fault, unavailable_because
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage.database import Role, conninfo
from hubblewave_pipelines.storage.migrate import app_role_bypasses_row_security, current, head
from hubblewave_pipelines.storage.secret_keys import Secrets, key_file
from hubblewave_pipelines.supervisor import first_start
from hubblewave_pipelines.supervisor.account import choose_account, program_directory
from hubblewave_pipelines.supervisor.ports import claim_port
from hubblewave_pipelines.supervisor.state import State, running


@dataclass(frozen=True, slots=True)
class Finding:
    """`state` is ok, wrong or skipped; `detail` says what was found or what to do."""

    what: str
    state: str
    detail: str


def findings(settings: Settings) -> list[Finding]:
    """Every check, in the order in which things depend on each other."""
    state = running(settings.data_dir)
    found = [_try("data directory", lambda: _writable(settings.data_dir))]
    found.append(_try("spool directory", lambda: _writable(settings.spool)))
    found.append(_secret_key(settings))
    if state is None:
        found.append(_try("ports", lambda: _ports(settings)))
    else:
        found.append(Finding("ports", "ok", f"in use by our own process {state.pid}"))
    found += _databases(settings, state)
    if settings.redis_url is None:
        found.append(Finding("redis", "skipped", "not set: rate limits count per process"))
    else:
        url = settings.redis_url.get_secret_value()
        found.append(_try("redis", lambda: _redis(url)))
    found.append(_transforms(settings))
    return found


def _transforms(settings: Settings) -> Finding:
    fault = asyncio.run(lock_down_fault())
    if fault is None:
        return Finding("webhook transforms", "ok", "their process is locked down")
    if settings.transform_weak_isolation:
        return Finding("webhook transforms", "ok", f"weakly isolated, as set ({fault})")
    return Finding("webhook transforms", "skipped", unavailable_because(fault))


def _databases(settings: Settings, state: State | None) -> list[Finding]:
    if settings.database_url is not None:
        url = settings.database_url.get_secret_value()
        dagster_url = first_start.dagster_url_beside(url)
    elif state is not None:
        url, dagster_url = state.database_url, state.dagster_database_url
    else:
        programs = _try("embedded PostgreSQL", lambda: _programs(settings.data_dir))
        why = "`hubblewave up` is not running on this data directory"
        later = ("database", "database roles", "database schema", "dagster storage", "connectors")
        return [programs, *(Finding(what, "skipped", why) for what in later)]
    if settings.dagster_database_url is not None:
        dagster_url = settings.dagster_database_url.get_secret_value()
    found = [
        _try("database", lambda: _server(url)),
        _try("database roles", lambda: _roles(url)),
        _try("database schema", lambda: _schema(url)),
        _try("dagster storage", lambda: _dagster(dagster_url)),
    ]
    if any(finding.state == "wrong" for finding in found[:3]):
        return [*found, Finding("connectors", "skipped", "they are in the database")]
    return found + _connectors(settings, url)


def _connectors(settings: Settings, url: str) -> list[Finding]:
    """A warning is no reason to fail: what it says stands in the words."""
    try:
        found = [
            Finding(f"connector {name}", "wrong" if level is Level.ERROR else "ok", words)
            for name, level, words in checked(settings, url)
        ]
    except PlatformError as error:
        return [Finding("connectors", "wrong", error.detail)]
    return found or [Finding("connectors", "ok", "none is active")]


class Wrong(Exception):
    """A check failed; the text says what to do."""


def _try(what: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(what, "ok", check())
    except Wrong as wrong:
        return Finding(what, "wrong", str(wrong))
    except PlatformError as error:
        return Finding(what, "wrong", error.detail)
    except psycopg.Error as error:
        return Finding(what, "wrong", str(error).strip())


def _writable(path: Path) -> str:
    place = path.absolute()
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        raise Wrong(f"{place} is not a directory.")
    if not os.access(place, os.W_OK | os.X_OK):
        raise Wrong(
            f"{place} may not be written by user id {os.geteuid()}: chown it or choose another."
        )
    return str(path.absolute()) if place == path.absolute() else f"{path.absolute()} can be made"


def _secret_key(settings: Settings) -> Finding:
    what, file = "secret key", key_file(settings)
    if settings.secret_key is None and not file.exists():
        return Finding(what, "skipped", f"not set and no {file}: `hubblewave up` makes it")

    def good() -> str:
        _ = Secrets(settings).envelope
        return "HUBBLEWAVE_SECRET_KEY" if settings.secret_key is not None else str(file)

    return _try(what, good)


def _ports(settings: Settings) -> str:
    api, dagster = settings.api_port, settings.dagster_port
    claim_port(settings.api_host, api, setting="HUBBLEWAVE_API_PORT", option="--api-port")
    claim_port(
        settings.dagster_host, dagster, setting="HUBBLEWAVE_DAGSTER_PORT", option="--dagster-port"
    )
    return f"{api or 'any'} and {dagster or 'any'} are free"


def _programs(data_dir: Path) -> str:
    return str(program_directory(choose_account(data_dir / "postgres" / "data")))


def _server(url: str) -> str:
    with psycopg.connect(conninfo(url, Role.OWNER)) as connection:
        number = connection.info.server_version
    if number < 150000:
        raise Wrong(f"PostgreSQL {number // 10000} is too old: 15 or newer is needed.")
    return f"PostgreSQL {number // 10000}.{number % 10000}"


def _roles(url: str) -> str:
    for role in (Role.APP, Role.WORKER):
        try:
            psycopg.connect(conninfo(url, role)).close()
        except psycopg.OperationalError as error:
            raise Wrong(
                f"cannot act as {role.value} ({str(error).strip()}): run `hubblewave migrate`"
            ) from error
    if app_role_bypasses_row_security(url):
        raise Wrong("hubblewave_app may bypass row security: alter role hubblewave_app nobypassrls")
    return f"{Role.APP.value}, {Role.WORKER.value}"


def _schema(url: str) -> str:
    found, wanted = current(url), head()
    if found != wanted:
        raise Wrong(f"at revision {found}, this version needs {wanted}: run `hubblewave migrate`")
    return f"revision {found}"


def _dagster(url: str) -> str:
    if not first_start.storage_is_current(url):
        raise Wrong(
            "its tables are missing or of another version: `hubblewave up` brings them up to date, "
            "without it `dagster instance migrate`"
        )
    return f"dagster {version('dagster')}"


def _redis(url: str) -> str:
    client = redis.Redis.from_url(url, socket_connect_timeout=3, socket_timeout=3)
    try:
        client.ping()
    except redis.RedisError as error:
        raise Wrong(f"HUBBLEWAVE_REDIS_URL does not answer: {error}") from error
    finally:
        client.close()
    return "answers"

"""Bring a database to this version's schema. Safe to run from several processes at once."""

from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, pool

from hubblewave_pipelines.core.errors import Misconfigured
from hubblewave_pipelines.storage.database import Role, conninfo

_LOCK = 0x68775F6D6967  # one migration at a time per database
_OLDEST, _NEWEST_TESTED = 150000, 190000


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def head() -> str:
    """The newest revision this version of the platform knows."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    if revision is None:
        raise Misconfigured("The installation holds no migrations; reinstall hubblewave-pipelines.")
    return revision


def migrate(url: str) -> str:
    """Apply what is missing, each revision in a transaction; returns the revision reached.

    Raises Misconfigured when the server is too old or the roles cannot be made.
    """
    engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(conninfo(url, Role.OWNER)),
        poolclass=pool.NullPool,
    )
    with engine.connect() as connection:
        version = connection.connection.driver_connection.info.server_version  # type: ignore[union-attr]
        if version < _OLDEST:
            raise Misconfigured(
                f"PostgreSQL 15 or newer is needed; this server is {version // 10000}."
            )
        connection.exec_driver_sql(f"select pg_advisory_lock({_LOCK})")
        connection.commit()
        config = _config()
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
            connection.commit()
        except psycopg.errors.RaiseException as error:
            diag = error.diag
            raise Misconfigured(f"{diag.message_primary}. {diag.message_hint or ''}") from error
        finally:
            connection.rollback()
            connection.exec_driver_sql(f"select pg_advisory_unlock({_LOCK})")
            connection.commit()
    engine.dispose()
    return head()


def current(url: str) -> str | None:
    """The revision the database is at, or None when it holds no platform."""
    with psycopg.connect(conninfo(url, Role.OWNER)) as connection:
        row = connection.execute("select to_regclass('public.schema_version')").fetchone()
        if row is None or row[0] is None:
            return None
        found = connection.execute("select version_num from public.schema_version").fetchone()
        return None if found is None else str(found[0])


def app_role_bypasses_row_security(url: str) -> bool:
    """Whether somebody gave `hubblewave_app` the power to see every tenant's rows."""
    with psycopg.connect(conninfo(url, Role.APP)) as connection:
        row = connection.execute(
            "select rolsuper or rolbypassrls from pg_roles where rolname = current_user"
        ).fetchone()
        return row is not None and bool(row[0])

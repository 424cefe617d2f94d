"""What a data directory and its databases need before anything serves: done once, safe to repeat."""

import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr
from sqlalchemy import URL

import hubblewave_pipelines
from hubblewave_pipelines.core.errors import Misconfigured, Unavailable
from hubblewave_pipelines.core.identity import new_api_key
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage import tenants
from hubblewave_pipelines.storage.database import Database
from hubblewave_pipelines.storage.tenants import Tenant

TENANT = "default"
_PLAN = "enterprise"
_DAGSTER_FILES = ("dagster.yaml", "workspace.yaml")


def dagster_url_beside(url: str) -> str:
    """The URL of database `dagster` on the server of `url`, in the form Dagster needs.

    Dagster's webserver works with psycopg2 only, and plain `postgresql://` means psycopg 3 to
    SQLAlchemy, so the driver is always named.
    """
    parts = {name: str(value) for name, value in conninfo_to_dict(url).items() if value is not None}
    parts.pop("dbname", None)
    user, password = parts.pop("user", None), parts.pop("password", None)
    host, port = parts.pop("host", None), parts.pop("port", None)
    if host is not None and (host.startswith("/") or "," in host):
        parts["host"], host = host, None  # a socket directory or several hosts go in the query
    if host is None and port is not None:
        hosts = parts.get("host", "").count(",") + 1
        parts["port"], port = port if "," in port else ",".join([port] * hosts), None
    made = URL.create(
        "postgresql+psycopg2",
        username=user,
        password=password,
        host=host,
        port=None if port is None else int(port),
        database="dagster",
        query=parts,
    )
    return made.render_as_string(hide_password=False)


def plain_url(dagster_url: str) -> str:
    """The same database for psycopg 3 and libpq."""
    return dagster_url.replace("postgresql+psycopg2://", "postgresql://", 1)


def require_reachable(url: str, setting: str) -> None:
    """Raises Unavailable naming the setting when no connection can be had."""
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.OperationalError as error:
        raise Unavailable(
            f"The database of {setting} cannot be reached: {str(error).strip()}"
        ) from error


def make_dagster_database(url: str, dagster_url: str) -> None:
    """Create database `dagster` on an external server when it is missing.

    Raises Misconfigured with the line an administrator should run when we may not.
    """
    with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
        found = connection.execute("select from pg_database where datname = 'dagster'").fetchone()
        if found is None:
            try:
                connection.execute("create database dagster")
            except psycopg.errors.InsufficientPrivilege as error:
                raise Misconfigured(
                    "There is no database `dagster` on the server and this user may not create it. "
                    f"Have an administrator run: create database dagster owner {connection.info.user};"
                    " or set HUBBLEWAVE_DAGSTER_DATABASE_URL to a database of your choice."
                ) from error
            except psycopg.errors.DuplicateDatabase:
                pass  # another process was quicker
    require_reachable(plain_url(dagster_url), "HUBBLEWAVE_DAGSTER_DATABASE_URL")


def write_dagster_home(home: Path) -> Path:
    """Put this version's dagster.yaml and workspace.yaml into Dagster's home; returns it.

    They come from the checkout, or from where the wheel installed them.
    """
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    checkout = Path(hubblewave_pipelines.__file__).parents[1]
    installed = Path(sysconfig.get_path("data")) / "share" / "hubblewave"
    for name in _DAGSTER_FILES:
        sources = [place / name for place in (checkout, installed) if (place / name).is_file()]
        if not sources:
            raise Misconfigured(f"{name} is missing from {checkout} and {installed}: reinstall.")
        unfinished = home / f".{name}"
        unfinished.write_bytes(sources[0].read_bytes())
        unfinished.replace(home / name)
    return home


def storage_is_current(dagster_url: str) -> bool:
    """Whether Dagster's tables were last brought up to date by the installed version."""
    with psycopg.connect(plain_url(dagster_url), connect_timeout=5) as connection:
        row = connection.execute(
            "select obj_description(to_regclass('alembic_version')) is not distinct from %s",
            (_storage_mark(),),
        ).fetchone()
    return row is not None and bool(row[0])


def make_dagster_storage(dagster_url: str, environment: Mapping[str, str]) -> None:
    """Create or upgrade Dagster's tables, in one process before any other touches them.

    Skipped when this version did it before (a mark on its version table says so): it costs 3 s.
    Raises Unavailable with the end of its output when it fails.
    """
    if storage_is_current(dagster_url):
        return
    done = subprocess.run(
        [sys.executable, "-m", "dagster", "instance", "migrate"],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise Unavailable(
            f"Dagster's storage could not be prepared:\n{done.stdout.strip()[-2000:]}"
        )
    with psycopg.connect(plain_url(dagster_url), connect_timeout=5) as connection:
        connection.execute(f"comment on table alembic_version is '{_storage_mark()}'".encode())


def migrate_dagster(settings: Settings) -> str:
    """Dagster's database, made when missing, and its tables; both URLs of `settings` must be set.

    Returns what its tables now fit. Raises as `make_dagster_database` and `make_dagster_storage`.
    """
    url = settings.require_database_url()
    if settings.dagster_database_url is None:
        made = SecretStr(dagster_url_beside(url))
        make_dagster_database(url, made.get_secret_value())
        settings = settings.model_copy(update={"dagster_database_url": made})
    dagster_url = settings.require_dagster_database_url()
    with tempfile.TemporaryDirectory(prefix="hubblewave-dagster-") as home:
        environment = {**settings.child_environment(), "DAGSTER_HOME": home}
        write_dagster_home(Path(home))
        make_dagster_storage(dagster_url, environment)
    return _storage_mark().lower()


def _storage_mark() -> str:
    return (
        f"Storage of dagster {version('dagster')}, dagster-postgres {version('dagster-postgres')}"
    )


def make_tenant(owner: Database, slug: str, name: str, plan: str) -> Tenant | None:
    """A tenant with its schema, or None when the slug is taken."""
    with owner.transaction() as tx:
        tenant = tx.one(tenants.insert_tenant(slug, name, plan))
        if tenant is not None:
            for step in tenants.create_schema(tenant):
                tx.run(step)
    return tenant


def make_first_tenant(owner: Database) -> Tenant:
    """The tenant `default`, made on the first start."""
    make_tenant(owner, TENANT, "Default", _PLAN)
    with owner.transaction() as tx:
        tenant = tx.one(tenants.tenant_by_slug(TENANT))
    if tenant is None:
        raise Unavailable(f"Tenant {TENANT} was removed while the platform was starting.")
    return tenant


def make_first_key(owner: Database, tenant: Tenant) -> str | None:
    """An admin key when the tenant never had a key, else None. Its text is stored nowhere."""
    key = new_api_key()
    with owner.transaction() as tx:
        if tx.all(tenants.keys_of(tenant.id)):
            return None
        tx.one(
            tenants.insert_key(
                tenant.id,
                key,
                name="first start",
                scopes=["read", "write", "admin"],
                plan=_PLAN,
                expires_at=None,
                created_by=None,
            )
        )
    return key.text

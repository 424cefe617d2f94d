"""The PostgreSQL that tests run on: the embedded one, or another supported version from a package."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeAlias
from urllib.parse import quote

import psycopg
import pytest

from hubblewave_pipelines.supervisor.account import choose_account
from hubblewave_pipelines.supervisor.death import die_with_parent
from hubblewave_pipelines.supervisor.postgres import EmbeddedPostgres
from tests.plugins.node import CLIENTS
from tests.plugins.stack import eventually

PORT = 5432  # only names the socket file


class PostgresOfMajor:
    """A server as an administrator hands it out: role `hubblewave` is no superuser."""

    def __init__(self, major: int, *, options: Mapping[str, str] | None = None) -> None:
        self.major = major
        self._options = {"listen_addresses": "", "timezone": "UTC", **(options or {})}
        self._place = Path(tempfile.mkdtemp(prefix="hw-pg-", dir="/var/tmp"))
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = "hubblewave", *, user: str = "hubblewave") -> str:
        socket = quote(str(self._place), safe="")
        return f"postgresql://{user}@/{database}?host={socket}&port={PORT}"

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Install, initialise and start it, with the databases `hubblewave` and `dagster`."""
        programs = self._install() / "bin"
        account = choose_account(self._place / "data")
        os.chown(self._place, account.uid, account.gid)
        subprocess.run(
            [
                str(programs / "initdb"),
                f"--pgdata={self._place / 'data'}",
                *("--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"),
                *("--no-sync", "--no-instructions"),
            ],
            cwd="/",
            check=True,
            capture_output=True,
            **account.popen_arguments(),
        )
        settings = [f"--{name}={value}" for name, value in self._options.items()]
        self._process = subprocess.Popen(
            [
                str(programs / "postgres"),
                *("-D", str(self._place / "data"), "-k", str(self._place), "-p", str(PORT)),
                *settings,
            ],
            cwd="/",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=die_with_parent(signal.SIGINT),
            **account.popen_arguments(),
        )
        eventually(self._answers, f"PostgreSQL {self.major} answers")
        with psycopg.connect(self.url("postgres", user="postgres"), autocommit=True) as connection:
            connection.execute("create role hubblewave login createrole createdb")
            for name in ("hubblewave", "dagster"):
                connection.execute(f"create database {name} owner hubblewave")

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)  # fast shutdown
            self._process.wait(30)
        shutil.rmtree(self._place, ignore_errors=True)

    def _install(self) -> Path:
        """The package's programs where the server's account can reach them, symlinks restored."""
        package = CLIENTS / "node_modules" / f"postgres-{self.major}"
        assert package.is_dir(), f"PostgreSQL {self.major} comes for Linux on x86-64 only"
        installed = self._place / "installed"
        shutil.copytree(package / "native", installed / "native", symlinks=True)
        for link in json.loads((installed / "native" / "pg-symlinks.json").read_text()):
            target = installed / link["target"]
            if not target.exists():
                target.symlink_to(Path(os.path.relpath(installed / link["source"], target.parent)))
        for path in [installed, *installed.rglob("*")]:
            if not path.is_symlink():
                path.chmod(0o755)
        return installed / "native"

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url("postgres", user="postgres"), connect_timeout=5).close()
        except psycopg.OperationalError:
            assert self.alive(), f"PostgreSQL {self.major} ended while starting"
            return False
        return True


Server: TypeAlias = EmbeddedPostgres | PostgresOfMajor


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--postgres-major",
        type=int,
        default=18,
        choices=(15, 16, 17, 18),
        help="run on a server of this version of PostgreSQL; 18 is the embedded one",
    )


@pytest.fixture(scope="session")
def server(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[Server]:
    """A server of this test worker; not durable, so that tests are quick."""
    options = {"fsync": "off", "full_page_writes": "off", "max_connections": "100"}
    major = pytestconfig.getoption("--postgres-major")
    postgres = (
        EmbeddedPostgres(tmp_path_factory.mktemp("postgres"), options=options)
        if major == 18
        else PostgresOfMajor(major, options=options)
    )
    postgres.start()
    yield postgres
    postgres.stop()

"""The embedded PostgreSQL: one server of our own per directory, on a private Unix socket."""

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO
from urllib.parse import quote

import psycopg

from hubblewave_pipelines.core.errors import Conflict, Misconfigured, Unavailable
from hubblewave_pipelines.supervisor import cluster
from hubblewave_pipelines.supervisor.account import Account, choose_account, program_directory
from hubblewave_pipelines.supervisor.death import die_with_parent
from hubblewave_pipelines.supervisor.runtime import make_runtime, remove_runtime

PORT = 5432  # only names the socket file; nothing listens on TCP
DATABASES = ("hubblewave", "dagster")
OWNER = "hubblewave"
_OPTIONS: Mapping[str, str] = {
    "listen_addresses": "",
    "shared_buffers": "256MB",
    "max_connections": "200",  # Dagster opens a connection per query
    "wal_level": "minimal",  # nobody replicates this server, and bulk loads write less
    "max_wal_senders": "0",
    "max_wal_size": "2GB",
    "wal_compression": "on",
    "checkpoint_timeout": "10min",
    "maintenance_work_mem": "128MB",
    "jit": "off",  # costs more than it saves on queries this short
    "autovacuum_naptime": "30s",
    "log_checkpoints": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class EmbeddedPostgres:
    """A PostgreSQL server below `directory`; at most one at a time, held by a lock file.

    `start` blocks until it answers and may be called again after the server died. Call it from the
    main thread: the server is told to shut down when the thread that started it ends. `options` are
    server settings that override ours; `output` receives the server's log (default: a file `log`).
    """

    name = "postgres"

    def __init__(
        self,
        directory: Path,
        *,
        options: Mapping[str, str] | None = None,
        output: int | None = None,
    ) -> None:
        self.directory = directory.absolute()
        self.data = self.directory / "data"
        self.options = {**_OPTIONS, **(options or {})}
        self._output = output
        self._lock: IO[str] | None = None
        self._runtime: Path | None = None
        self._data_fd: int | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How the server ended; None while it runs."""
        return None if self._process is None else self._process.poll()

    def url(
        self, database: str = "hubblewave", *, user: str = OWNER, driver: str = "postgresql"
    ) -> str:
        """A URL that works while this server runs. `driver` is the scheme, as SQLAlchemy names it."""
        if self._runtime is None:
            raise Unavailable("The embedded PostgreSQL has not been started.")
        return (
            f"{driver}://{user}@/{database}?host={quote(str(self._runtime), safe='')}&port={PORT}"
        )

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Bring the server up, making its data directory, role and databases when missing.

        Raises Conflict when another process holds the directory, Misconfigured when it cannot be
        used by this user or version, Unavailable when the server does not come up.
        """
        if self.alive():
            return
        sockets = self._hold()
        account = choose_account(self.data)
        programs = program_directory(account)
        cluster.end_orphan(self.data)
        cluster.check_version(self.data)
        if not (self.data / "PG_VERSION").exists():
            durable = self.options.get("fsync") != "off"
            cluster.initialise(self.data, account, programs, durable=durable)
        if not account.is_ours:
            os.chown(sockets, account.uid, account.gid)
        self._launch(account, programs)
        self._make_databases()

    def stop(self, *, timeout: float = 60) -> None:
        """Shut down fast (clients are disconnected, everything committed is on disk) and let go."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                self._process.send_signal(signal.SIGQUIT)  # recovers from its log on the next start
                self._process.wait(10)
        self._process = None
        if self._data_fd is not None:
            os.close(self._data_fd)
            self._data_fd = None
        if self._runtime is not None:
            remove_runtime(self._runtime)
            self._runtime = None
        if self._lock is not None:
            self._lock.truncate(0)
            self._lock.close()
            self._lock = None

    def _hold(self) -> Path:
        """Lock the directory, for as long as we live, and make the one for the socket."""
        if self._lock is not None and self._runtime is not None:
            return self._runtime
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            lock = (self.directory / "lock").open("a+")
        except OSError as error:
            raise Misconfigured(
                f"{self.directory} cannot be used for the database: {error.strerror}."
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = next(iter(lock.read().split()), "unknown")
            lock.close()
            raise Conflict(
                f"The database in {self.directory} is in use by process {holder}."
            ) from None
        lock.seek(0)
        for left in lock.read().split()[1:]:  # by a holder that was killed
            remove_runtime(Path(left))
        self._runtime = make_runtime()
        lock.truncate(0)
        lock.write(f"{os.getpid()} {self._runtime}\n")
        lock.flush()
        self._lock = lock
        return self._runtime

    def _launch(self, account: Account, programs: Path) -> None:
        if self._data_fd is not None:
            os.close(self._data_fd)
        self._data_fd, path = cluster.open_for(account, self.data)
        command = [
            str(programs / "postgres"),
            "-D",
            path,
            "-k",
            str(self._runtime),
            "-p",
            str(PORT),
        ]
        for name, value in self.options.items():
            command += ["-c", f"{name}={value}"]
        # Backends of a killed postmaster need a moment to notice; until then a new one gives up.
        unclean = (self.data / "postmaster.pid").exists()
        deadline = time.monotonic() + (15 if unclean else 0)
        while True:
            self._spawn(command, account)
            code = self._wait_ready()
            if code is None:
                return
            if time.monotonic() >= deadline:
                raise Unavailable(
                    f"PostgreSQL in {self.data} ended with code {code} while starting: {self._why()}"
                )
            time.sleep(0.5)

    def _why(self) -> str:
        if self._output is not None:
            return "see its lines above."
        return "\n".join((self.directory / "log").read_text().splitlines()[-5:])

    def _spawn(self, command: list[str], account: Account) -> None:
        output = self._output
        if output is None:
            output = os.open(self.directory / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._process = subprocess.Popen(
                command,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[] if self._data_fd is None else [self._data_fd],
                start_new_session=True,  # Ctrl-C on the terminal is for the supervisor alone
                preexec_fn=die_with_parent(signal.SIGINT),
                **account.popen_arguments(),
            )
        finally:
            if self._output is None:
                os.close(output)

    def _wait_ready(self) -> int | None:
        """None once the server answers; its exit code when it ended instead."""
        process = self._process
        if process is None:
            raise Unavailable("The embedded PostgreSQL has not been started.")
        deadline = time.monotonic() + 300  # crash recovery after a long outage takes its time
        while time.monotonic() < deadline:
            if (code := process.poll()) is not None:
                return code
            if self._says_ready(process.pid):  # asking earlier would only fill its log
                try:
                    psycopg.connect(
                        self.url("postgres", user="postgres"), connect_timeout=5
                    ).close()
                except psycopg.OperationalError:
                    time.sleep(0.05)
                else:
                    return None
            time.sleep(0.02)
        raise Unavailable(f"PostgreSQL in {self.data} did not answer within 300 s.")

    def _says_ready(self, pid: int) -> bool:
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > 7 and lines[0] == str(pid) and lines[7].strip() == "ready"

    def _make_databases(self) -> None:
        with psycopg.connect(self.url("postgres", user="postgres"), autocommit=True) as connection:
            roles = connection.execute("select from pg_roles where rolname = %s", (OWNER,))
            if roles.fetchone() is None:
                connection.execute("create role hubblewave login createrole createdb")
            present = {row[0] for row in connection.execute("select datname from pg_database")}
            for name in DATABASES:
                if name not in present:
                    connection.execute(f"create database {name} owner hubblewave".encode())

"""The embedded PostgreSQL: real servers, killed in every way, as root and as an ordinary user."""

import os
import pwd
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from hubblewave_pipelines.core.errors import Conflict, Misconfigured, Unavailable
from hubblewave_pipelines.supervisor import account as accounts
from hubblewave_pipelines.supervisor.account import choose_account, program_directory
from hubblewave_pipelines.supervisor.postgres import EmbeddedPostgres

QUICK = {"fsync": "off", "shared_buffers": "16MB"}
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(tmp_path / "pg", options=QUICK)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory everybody may write, outside pytest's private ones."""
    path = Path(tempfile.mkdtemp(prefix="hw-test-", dir="/tmp"))
    path.chmod(0o777)
    yield path
    subprocess.run(["rm", "-rf", str(path)], check=True)


def write_rows(server: EmbeddedPostgres) -> None:
    with psycopg.connect(server.url()) as connection:
        connection.execute("create table kept as select generate_series(1, 1000) as n")


def count_rows(server: EmbeddedPostgres) -> int:
    with psycopg.connect(server.url()) as connection:
        row = connection.execute("select count(*) from kept").fetchone()
    assert row is not None
    return int(row[0])


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not happen within 30 s"
        time.sleep(0.05)


def processes_in(data: Path) -> list[int]:
    """Server processes whose working directory is `data`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "cwd").resolve(strict=True) == data.resolve():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def test_it_has_the_owner_role_and_both_databases(postgres: EmbeddedPostgres) -> None:
    for database in ("hubblewave", "dagster"):
        with psycopg.connect(postgres.url(database)) as connection:
            row = connection.execute(
                "select current_user, rolsuper, rolcreaterole from pg_roles "
                "where rolname = current_user"
            ).fetchone()
        assert row == ("hubblewave", False, True)


def test_nothing_listens_on_tcp(postgres: EmbeddedPostgres) -> None:
    with psycopg.connect(postgres.url()) as connection:
        assert connection.execute("select inet_server_addr()").fetchone() == (None,)
    assert postgres.pid is not None
    sockets = Path(f"/proc/{postgres.pid}/net/tcp").read_text().splitlines()[1:]
    inodes = {line.split()[9] for line in sockets}
    own = {os.readlink(fd) for fd in Path(f"/proc/{postgres.pid}/fd").iterdir()}
    assert not {f"socket:[{inode}]" for inode in inodes} & own


def test_only_its_account_may_enter_the_socket_directory(postgres: EmbeddedPostgres) -> None:
    sockets = Path(str(conninfo_to_dict(postgres.url())["host"]))
    assert stat.S_IMODE(sockets.stat().st_mode) == 0o700


def test_data_survive_a_stop_and_a_start(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "pg", options=QUICK)
    server.start()
    write_rows(server)
    server.stop()
    assert not server.alive()
    assert processes_in(server.data) == []
    server.start()
    assert count_rows(server) == 1000
    server.stop()


def test_a_killed_server_starts_again_at_the_same_url(postgres: EmbeddedPostgres) -> None:
    write_rows(postgres)
    url = postgres.url()
    assert postgres.pid is not None
    os.kill(postgres.pid, signal.SIGKILL)
    eventually(lambda: not postgres.alive())
    postgres.start()
    assert postgres.url() == url
    assert count_rows(postgres) == 1000


def test_data_survive_a_kill_of_every_server_process(postgres: EmbeddedPostgres) -> None:
    write_rows(postgres)
    for pid in processes_in(postgres.data):
        with suppress(ProcessLookupError):  # it ended with its parent
            os.kill(pid, signal.SIGKILL)
    eventually(lambda: not postgres.alive())
    postgres.start()
    assert count_rows(postgres) == 1000


def test_a_second_server_on_the_directory_is_refused(postgres: EmbeddedPostgres) -> None:
    second = EmbeddedPostgres(postgres.directory, options=QUICK)
    with pytest.raises(Conflict, match=f"in use by process {os.getpid()}"):
        second.start()
    assert postgres.alive()


def test_an_orphan_is_stopped_and_its_data_are_there(open_directory: Path) -> None:
    first = EmbeddedPostgres(open_directory / "pg", options=QUICK)
    first.start()
    write_rows(first)
    first.stop()
    account = choose_account(first.data)
    orphan = subprocess.Popen(
        [program_directory(account) / "postgres", "-D", ".", "-k", open_directory, "-h", ""],
        cwd=first.data,
        stderr=subprocess.DEVNULL,
        user=account.uid,
        group=account.gid,
        extra_groups=[],
    )
    eventually(lambda: len(processes_in(first.data)) > 3)
    second = EmbeddedPostgres(open_directory / "pg", options=QUICK)
    second.start()
    assert orphan.wait(10) == 0
    assert count_rows(second) == 1000
    second.stop()


def test_the_server_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path\n"
        "from hubblewave_pipelines.supervisor.postgres import EmbeddedPostgres\n"
        f"EmbeddedPostgres(Path(sys.argv[1]), options={QUICK!r}).start()\n"
        "print('up', flush=True); time.sleep(600)\n"
    )
    directory = tmp_path / "pg"
    starter = subprocess.Popen(
        [sys.executable, "-c", script, str(directory)], stdout=subprocess.PIPE, text=True
    )
    assert starter.stdout is not None
    assert starter.stdout.readline() == "up\n"
    assert processes_in(directory / "data")
    starter.kill()
    starter.wait()
    eventually(lambda: processes_in(directory / "data") == [])
    again = EmbeddedPostgres(directory, options=QUICK)
    again.start()
    again.stop()


def test_a_very_long_path_works(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / ("d" * 120) / ("e" * 120), options=QUICK)
    server.start()
    write_rows(server)
    assert count_rows(server) == 1000
    server.stop()


def test_an_interrupted_first_start_leaves_no_half_cluster(tmp_path: Path) -> None:
    half = tmp_path / "pg" / "data.new" / "base"
    half.mkdir(parents=True)
    server = EmbeddedPostgres(tmp_path / "pg", options=QUICK)
    server.start()
    server.stop()
    assert not half.exists()


def test_data_of_another_version_are_refused_untouched(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "pg", options=QUICK)
    server.start()
    server.stop()
    (server.data / "PG_VERSION").write_text("17\n")
    with pytest.raises(Misconfigured, match="made by PostgreSQL 17"):
        server.start()
    server.stop()


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "pg", options={**QUICK, "no_such_setting": "1"})
    with pytest.raises(Unavailable, match="no_such_setting"):
        server.start()
    server.stop()


@needs_root
def test_root_uses_another_account_and_changes_no_permissions(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    before = closed.stat()
    server = EmbeddedPostgres(closed / "pg", options=QUICK)
    server.start()
    assert server.pid is not None
    owner = Path(f"/proc/{server.pid}").stat().st_uid
    assert owner != 0
    write_rows(server)
    assert count_rows(server) == 1000
    server.stop()
    after = closed.stat()
    assert (after.st_mode, after.st_uid) == (before.st_mode, before.st_uid)


@needs_root
def test_programs_below_a_closed_directory_are_copied_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = choose_account(tmp_path / "none")
    monkeypatch.setattr(accounts, "can_reach", lambda *_: False)
    monkeypatch.setattr(accounts, "COPIES", tmp_path)
    tmp_path.chmod(0o755)
    copied = program_directory(account)
    assert tmp_path in copied.parents
    assert program_directory(account) == copied
    version = subprocess.run(
        [copied / "postgres", "--version"], capture_output=True, text=True, check=True
    )
    assert "PostgreSQL" in version.stdout
    initialise = subprocess.run(
        [copied / "initdb", "--version"], capture_output=True, text=True, check=True
    )
    assert "PostgreSQL" in initialise.stdout


def as_nobody(body: Callable[[], None]) -> int:
    """Run `body` in a forked process without privileges; its exit code.

    A fork, because the interpreter itself may lie below root's home, which nobody else may enter.
    """
    nobody = pwd.getpwnam("nobody")
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.chdir("/")
            os.setgroups([])
            os.setresgid(nobody.pw_gid, nobody.pw_gid, nobody.pw_gid)
            os.setresuid(nobody.pw_uid, nobody.pw_uid, nobody.pw_uid)
            body()
            code = 0
        except BaseException as error:  # noqa: BLE001 - reported by the exit code, said here
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@needs_root
def test_an_ordinary_user_runs_it_as_himself(open_directory: Path) -> None:
    def body() -> None:
        server = EmbeddedPostgres(open_directory / "pg", options=QUICK)
        server.start()
        assert Path(f"/proc/{server.pid}").stat().st_uid == os.geteuid() != 0
        write_rows(server)
        assert count_rows(server) == 1000
        server.stop()

    assert as_nobody(body) == 0


@needs_root
def test_an_ordinary_user_is_told_whose_directory_it_is(open_directory: Path) -> None:
    (open_directory / "pg" / "data").mkdir(parents=True)
    (open_directory / "pg").chmod(0o777)

    def body() -> None:
        with pytest.raises(Misconfigured, match="belongs to user id 0"):
            EmbeddedPostgres(open_directory / "pg", options=QUICK).start()

    assert as_nobody(body) == 0

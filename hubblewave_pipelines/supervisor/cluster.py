"""A PostgreSQL data directory: made whole or not at all, of our version, served by nobody else."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from hubblewave_pipelines.core.errors import Misconfigured, Unavailable
from hubblewave_pipelines.supervisor.account import MAJOR, Account, can_reach, describe


def check_version(data: Path) -> None:
    """Raises Misconfigured when the data were made by another major version."""
    marker = data / "PG_VERSION"
    if marker.exists() and (found := marker.read_text().strip()) != str(MAJOR):
        raise Misconfigured(
            f"{data} was made by PostgreSQL {found} and this version ships {MAJOR}: dump it "
            "with the version that made it and load it again (docs/operations.md, Upgrade)."
        )


def end_orphan(data: Path) -> None:
    """Stop a server that outlived its supervisor. The caller holds the lock, so nobody wants it."""
    try:
        pid = int((data / "postmaster.pid").read_text().splitlines()[0])
    except (FileNotFoundError, IndexError, ValueError):
        return
    for how, patience in ((signal.SIGINT, 30.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 5.0)):
        if not _serves(pid, data):
            break
        os.kill(pid, how)
        _wait_until(lambda: not _serves(pid, data), patience)


def initialise(data: Path, account: Account, programs: Path, *, durable: bool) -> None:
    """initdb beside the final place, then rename: an interrupted one leaves no half cluster.

    Raises Unavailable with what initdb said.
    """
    fresh = data.with_name("data.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    if not account.is_ours:
        os.chown(fresh, account.uid, account.gid)
    handle, path = open_for(account, fresh)
    command = [
        str(programs / "initdb"),
        f"--pgdata={path}",
        "--username=postgres",
        "--auth=trust",  # only the private socket directory leads to the server
        "--encoding=UTF8",
        "--locale-provider=builtin",  # the same order of text on every machine
        "--builtin-locale=C.UTF-8",
        "--locale=C",
        "--no-instructions",
    ]
    if not durable:
        command.append("--no-sync")
    try:
        done = subprocess.run(
            command,
            cwd="/",
            pass_fds=[handle],
            capture_output=True,
            text=True,
            check=False,
            **account.popen_arguments(),
        )
    finally:
        os.close(handle)
    if done.returncode != 0:
        raise Unavailable(
            f"initdb failed in {fresh} as {describe(account)}: {done.stderr.strip()[-800:]}"
        )
    fresh.rename(data)


def open_for(account: Account, path: Path) -> tuple[int, str]:
    """A descriptor to hand down, and the name under which `account` reaches `path`.

    Where a directory above is closed to it (a data directory below root's home), the descriptor's
    own name leads there without walking, so nobody's permissions need changing.
    """
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    return handle, str(path) if can_reach(account, path) else f"/proc/self/fd/{handle}"


def _serves(pid: int, data: Path) -> bool:
    """Whether `pid` is a server working in `data` (a postmaster's working directory is its data)."""
    try:
        return Path(f"/proc/{pid}/cwd").samefile(data) and not _is_zombie(pid)
    except OSError:
        return False


def _is_zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def _wait_until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)

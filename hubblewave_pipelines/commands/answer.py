"""How a command answers: for a person or as JSON, and what a refusal looks like."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import psycopg
import typer
from pydantic import SecretStr, ValidationError
from rich.console import Console
from rich.table import Table

from hubblewave_pipelines.core.errors import Misconfigured, PlatformError, Unavailable
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage.database import Database, Role
from hubblewave_pipelines.supervisor.state import database_url

AsJson = Annotated[bool, typer.Option("--json", help="Answer as JSON on standard output.")]
DataDir = Annotated[
    Path | None,
    typer.Option(help="Directory of the platform [HUBBLEWAVE_DATA_DIR, default .hubblewave]."),
]


class ApiRefusal(Exception):
    """The API answered, and did not do it."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


def settings_with(**given: object) -> Settings:
    """The settings of the environment, overridden by what the command line gave (None: not given).

    Raises Misconfigured naming each variable that is wrong.
    """
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        wrong = "; ".join(
            f"HUBBLEWAVE_{'_'.join(map(str, fault['loc'])).upper()}: {fault['msg']}"
            if fault["loc"]
            else str(fault["msg"])
            for fault in error.errors(include_input=False, include_url=False)
        )
        raise Misconfigured(f"Settings are wrong: {wrong}") from None


@contextmanager
def owner(data_dir: Path | None) -> Iterator[Database]:
    """The platform's database with its owner's rights.

    Raises Unavailable when no platform runs, or when its database has no tables yet.
    """
    database = Database(database_url(settings_with(data_dir=data_dir)), Role.OWNER, size=1)
    try:
        yield database
    except psycopg.errors.UndefinedTable as error:
        raise Unavailable(
            "The database holds no platform yet: run `hubblewave migrate`."
        ) from error
    finally:
        database.close()


@contextmanager
def refusals(as_json: bool) -> Iterator[None]:
    """Turn expected refusals into one line on standard error and exit code 1."""
    try:
        yield
    except (PlatformError, ApiRefusal) as error:
        _refuse(error.code, error.detail, as_json)
    except psycopg.Error as error:
        _refuse("platform.database", f"PostgreSQL refused: {str(error).strip()}", as_json)


def _refuse(code: str, detail: str, as_json: bool) -> None:
    if as_json:
        sys.stderr.write(json.dumps({"error": {"code": code, "detail": detail}}) + "\n")
    else:
        Console(stderr=True).print(f"[red]{code}[/red] {_plain(detail)}", soft_wrap=True)
    raise typer.Exit(1)


def print_json(value: object) -> None:
    sys.stdout.write(json.dumps(as_plain(value), indent=2) + "\n")


def print_rows(rows: Sequence[Any], columns: Sequence[str], *, as_json: bool) -> None:
    """Dataclasses as a table of these attributes, or as a JSON list of all of them."""
    if as_json:
        print_json(list(rows))
        return
    table = Table(*(name.replace("_", " ") for name in columns), box=None, header_style="bold")
    for row in rows:
        table.add_row(*(_cell(getattr(row, name)) for name in columns))
    Console().print(table)


def as_plain(value: object) -> Any:
    """Dataclasses, dates and ids in the form json.dumps takes."""
    match value:
        case datetime():
            return value.isoformat()
        case UUID() | Path():
            return str(value)
        case SecretStr():
            return "**********"
        case list() | tuple():
            return [as_plain(item) for item in value]
        case dict():
            return {str(key): as_plain(item) for key, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: as_plain(getattr(value, field.name)) for field in fields(value)}
    return value


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case datetime():
            return value.strftime("%Y-%m-%d %H:%M")
        case list():
            return " ".join(str(item) for item in value)
    return _plain(str(value))


def _plain(text: str) -> str:
    """Text that rich prints as it is, brackets and all."""
    return text.replace("[", "\\[")

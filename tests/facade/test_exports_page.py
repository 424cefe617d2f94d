"""docs/reference/exports.md says what the code does: its request, its options, formats and commands."""

import csv
import gzip
import io
import json
import re
import shlex
from pathlib import Path
from uuid import UUID

import httpx
import pytest
import typer.main

from hubblewave_pipelines.commands.line import app
from hubblewave_pipelines.core.export_formats import ENCODINGS, ExportOptions, Format
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage.database import Database
from hubblewave_pipelines.storage.tenants import Tenant
from hubblewave_pipelines.transfer.exports import run_export

PAGE = (Path(__file__).parents[2] / "docs/reference/exports.md").read_text()
AIRLINE = {
    "name": "Airline",
    "pluralName": "Airlines",
    "fields": [{"name": "name", "type": "text"}],
}
FLIGHT = {
    "name": "Flight",
    "pluralName": "Flights",
    "fields": [
        {"name": "carrier", "type": "text"},
        {"name": "number", "type": "integer"},
        {"name": "origin", "type": "text"},
        {"name": "timeHour", "type": "datetime"},
    ],
    "relationships": [{"name": "airline", "type": "manyToOne", "targetEntity": "Airline"}],
}


def section(title: str) -> str:
    return PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]


def first_cells(text: str) -> set[str]:
    """The words in code marks of the first cell of each row of a table."""
    rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
    return {word for row in rows for word in re.findall(r"`(\w+)`", row.split("|")[1])}


def test_the_request_of_the_page_does_what_the_page_says(
    admin: httpx.Client, worker_database: Database, api_settings: Settings, tenant: Tenant
) -> None:
    for entity in (AIRLINE, FLIGHT):
        assert admin.post("/api/v1/entities", json=entity).status_code == 201
    airline = admin.post("/api/v1/airlines", json={"name": "United"}).json()["id"]
    flights = [("UA", 1, "JFK", "10"), ("B6", 2, "LGA", "11"), ("UA", 3, "JFK", "12")]
    for carrier, number, origin, hour in flights:
        body = {"carrier": carrier, "number": number, "origin": origin, "airlineId": airline}
        time = {"timeHour": f"2013-01-01T{hour}:00:00Z"}
        assert admin.post("/api/v1/flights", json=body | time).status_code == 201
    [example] = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)[:1]
    asked = admin.post("/api/v1/exports", json=json.loads(example))
    assert asked.status_code == 202, asked.text
    run_export(
        worker_database,
        api_settings,
        tenant.id,
        UUID(asked.json()["id"]),
        run_id="page",
        still_held=lambda: None,
        progress=lambda _: None,
    )
    done = admin.get(asked.headers["location"]).json()
    text = gzip.decompress(admin.get(done["downloadUrl"]).content).decode()
    assert list(csv.reader(io.StringIO(text))) == [
        ["carrier", "number", "airline.name"],
        ["UA", "3", "United"],
        ["UA", "1", "United"],
    ]
    members = {"status", "progress", "recordsWritten", "fileName", "fileSize", "sha256"}
    members |= {"expiresAt", "downloadUrl", "manifest", "nextRunAt", "scheduleId"}
    assert members <= set(re.findall(r"`(\w+)`", PAGE)) & set(done)
    served = {
        re.sub(r"\{\w+\}", "{id}", path)
        for path in admin.get("/api/v1/openapi.json").json()["paths"]
    }
    told = set(re.findall(r"`(?:GET|POST|DELETE) /api/v1(/[^`?]*)", PAGE))
    assert told <= served


def test_the_options_and_formats_of_the_page_are_all_there_are() -> None:
    assert first_cells(section("Options")) == set(ExportOptions().as_json())
    assert set(ENCODINGS) <= set(re.findall(r"`([\w-]+)`", section("Options")))
    [row] = [line for line in PAGE.splitlines() if line.startswith("| `format` |")]
    assert set(re.findall(r"`(\w+)`", row.split("|")[2])) == set(Format)


def test_the_commands_of_the_page_can_be_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "contacts.csv").write_text("Mail\n")
    commands = re.findall(r"^hubblewave .*$", section("From the command line"), re.MULTILINE)
    assert len(commands) == 3
    group = typer.main.get_command(app)
    for line in commands:
        name, *rest = shlex.split(line)[1:]
        command = group.commands[name]  # type: ignore[attr-defined]
        with command.make_context(name, rest) as context:  # a wrong option raises
            assert context.params["entity"] in ("Flight", "Contact")

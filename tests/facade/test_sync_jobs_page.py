"""docs/reference/sync-jobs.md says what the code does: its example is taken, and every word it needs is there."""

import json
import re
from pathlib import Path

import httpx

from api import openapi_syncs
from hubblewave_pipelines.core.sync_request import KNOWN
from tests.facade.routes import CONNECTOR

PAGE = (Path(__file__).parents[2] / "docs/reference/sync-jobs.md").read_text()
WORDS = set(re.findall(r"[A-Za-z_]+", PAGE))
EXAMPLE = json.loads(re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)[0])
ORDER = {
    "name": "Order",
    "pluralName": "orders",
    "fields": [
        {"name": "number", "type": "text", "unique": True},
        {"name": "total", "type": "decimal"},
        {"name": "city", "type": "text"},
    ],
}


def test_the_example_is_taken_as_it_is(admin: httpx.Client) -> None:
    assert admin.post("/api/v1/entities", json=ORDER).status_code == 201
    assert admin.post("/api/v1/connectors", json={**CONNECTOR, "name": "Shop"}).status_code == 201
    made = admin.post("/api/v1/sync-jobs", json=EXAMPLE)
    assert made.status_code == 201, made.text
    job = made.json()
    assert {name: job[name] for name in EXAMPLE if name != "connector"} == {
        name: value for name, value in EXAMPLE.items() if name != "connector"
    }
    assert job["nextRunAt"] is not None


def test_every_member_status_and_path_is_on_the_page() -> None:
    assert set(KNOWN) <= WORDS
    for name in ("platform_SyncRun", "platform_SyncDeadLetter"):
        assert set(openapi_syncs.SCHEMAS[name]["properties"]["status"]["enum"]) <= WORDS
    for name, schema in openapi_syncs.SCHEMAS["platform_NewSyncJob"]["properties"].items():
        assert set(schema.get("enum", ())) <= WORDS, name
    verbs = {path.rpartition("/")[2] for _, path in openapi_syncs.PATHS}
    assert {verb for verb in verbs if not verb.startswith("{")} <= WORDS | {
        "sync-jobs",
        "dead-letters",
    }

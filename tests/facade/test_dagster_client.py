"""The API's client of Dagster: launches, falls back, and never raises into a request."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
import pytest

from api.dagster import DagsterClient
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage.work import WorkRequest

REQUEST = WorkRequest(
    id=UUID(int=1),
    tenant_id=UUID(int=2),
    kind="import",
    ref_id=UUID(int=3),
    asset_key=("import", "acme", "airports"),
    state="requested",
    attempt=2,
    max_attempts=5,
    run_id=None,
    not_before=datetime(2026, 1, 1, tzinfo=UTC),
    error=None,
)


def launched(run_id: str) -> httpx.Response:
    run = {"__typename": "LaunchRunSuccess", "run": {"runId": run_id}}
    return httpx.Response(200, json={"data": {"launchRun": run}})


def refused(typename: str, message: str) -> httpx.Response:
    refusal = {"__typename": typename, "message": message}
    return httpx.Response(200, json={"data": {"launchRun": refusal}})


class Dagster:
    """A stand-in webserver: answers with the next answer, and remembers what it was asked."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self._answers = list(answers)
        self.asked: list[dict[str, Any]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(json.loads(request.content)["variables"])
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def client(self) -> DagsterClient:
        return DagsterClient(Settings(), transport=httpx.MockTransport(self))


def launch(client: DagsterClient) -> str | None:
    async def run() -> str | None:
        await client.open()
        try:
            return await client.launch(REQUEST)
        finally:
            await client.close()

    return asyncio.run(run())


def test_a_request_is_launched_on_its_asset_with_its_tags() -> None:
    dagster = Dagster(launched("run-1"))
    assert launch(dagster.client()) == "run-1"
    [asked] = dagster.asked
    selector = asked["params"]["selector"]
    assert selector["jobName"] == "imports"
    assert selector["assetSelection"] == [{"path": ["import", "acme", "airports"]}]
    tags = {tag["key"]: tag["value"] for tag in asked["params"]["executionMetadata"]["tags"]}
    assert tags == {
        "hubblewave/request_id": str(REQUEST.id),
        "hubblewave/attempt": f"{REQUEST.id}:2",
        "hubblewave/import_id": str(REQUEST.ref_id),
    }
    assert asked["params"]["runConfigData"] == {}


@pytest.mark.parametrize(
    "first",
    [refused("InvalidSubsetError", "no such asset"), httpx.Response(500, text="oops")],
)
def test_an_asset_unknown_to_the_graph_is_launched_by_the_adhoc_job(first: httpx.Response) -> None:
    dagster = Dagster(first, launched("run-2"))
    assert launch(dagster.client()) == "run-2"
    assert dagster.asked[1]["params"]["selector"]["jobName"] == "import_adhoc"
    assert "assetSelection" not in dagster.asked[1]["params"]["selector"]


@pytest.mark.parametrize(
    "answers",
    [
        [httpx.ConnectError("refused")],
        [httpx.ReadTimeout("slow")],
        [httpx.Response(500), httpx.Response(502)],
        [httpx.Response(200, text="<html>"), httpx.Response(200, text="<html>")],
        [httpx.Response(200, json={"errors": []}), httpx.Response(200, json={"data": None})],
        [refused("PythonError", "x"), refused("PythonError", "y")],
    ],
)
def test_a_launch_that_fails_is_left_to_the_sensor_and_counted(
    answers: list[httpx.Response | Exception],
) -> None:
    client = Dagster(*answers).client()
    assert launch(client) is None
    assert client.failures["launch"] == 1


def test_a_client_that_was_never_opened_does_not_raise() -> None:
    client = Dagster().client()
    assert asyncio.run(client.launch(REQUEST)) is None
    assert asyncio.run(client.terminate("run-1")) is False
    assert asyncio.run(client.healthy()) is False


@pytest.mark.parametrize(
    ("typename", "taken"),
    [("TerminateRunSuccess", True), ("TerminateRunFailure", False), ("RunNotFoundError", False)],
)
def test_a_run_is_terminated_or_it_is_said_that_not(typename: str, taken: bool) -> None:
    answer = {"terminateRun": {"__typename": typename, "message": "m"}}
    client = Dagster(httpx.Response(200, json={"data": answer})).client()

    async def run() -> bool:
        await client.open()
        return await client.terminate("run-1")

    assert asyncio.run(run()) is taken


@pytest.mark.parametrize(
    ("status", "healthy"), [("LOADED", True), ("LOADING", False), ("ERROR", False)]
)
def test_health_is_a_loaded_code_location(status: str, healthy: bool) -> None:
    entries = [{"name": "hubblewave", "loadStatus": status}]
    answer = {"locationStatusesOrError": {"__typename": "X", "entries": entries}}
    client = Dagster(httpx.Response(200, json={"data": answer})).client()

    async def run() -> bool:
        await client.open()
        return await client.healthy()

    assert asyncio.run(run()) is healthy


def test_a_runs_page_is_linked() -> None:
    client = DagsterClient(Settings(dagster_url="https://dagster.example"))
    assert client.run_url("abc") == "https://dagster.example/runs/abc"

"""The only client of Dagster's GraphQL: launch a run for a work request, terminate one, health.

A launch is a favour to the caller's latency: when it fails the request stays in its row, and
Dagster's own sensor launches it within seconds. So nothing here raises into a request.
"""

import logging
from collections import Counter
from typing import Any

import httpx

from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage.work import WorkRequest

logger = logging.getLogger(__name__)

LOCATION = "hubblewave"
REPOSITORY = "__repository__"
# Of each kind of work: the jobs of its assets, where it has any, and the one for what is not in
# the graph. Syncs have a job per size of window; an asset is in one of the two.
ASSET_JOBS = {
    "import": ("imports",),
    "export": ("exports",),
    "sync": ("syncs_hourly", "syncs_daily"),
}
ADHOC_JOBS = {
    "import": "import_adhoc",
    "export": "export_adhoc",
    "revert": "import_revert",
    "check": "connector_ask",
    "discover": "connector_ask",
    "sync": "sync_adhoc",
}
# A launch is answered in 0.1 s; whoever waits longer is better served by the sensor.
_TIMEOUT = httpx.Timeout(2.0, connect=0.5)

_LAUNCH = """
mutation Launch($params: ExecutionParams!) { launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on Error { message } } }
"""
_TERMINATE = """
mutation Terminate($run: String!) { terminateRun(runId: $run) {
    __typename
    ... on Error { message }
    ... on TerminateRunFailure { message } } }
"""
_HEALTH = """
{ locationStatusesOrError { __typename ... on WorkspaceLocationStatusEntries {
    entries { name loadStatus } } } }
"""


class Refusal(Exception):
    """Dagster answered, and did not do it."""


class DagsterClient:
    """One connection pool per API process. `failures` counts by operation since the start."""

    def __init__(
        self, settings: Settings, *, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._url = settings.dagster_base_url
        self._transport = transport
        self._client: httpx.AsyncClient | None = None
        self.failures: Counter[str] = Counter()

    async def open(self) -> None:
        self._client = httpx.AsyncClient(
            base_url=self._url, timeout=_TIMEOUT, transport=self._transport
        )

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def launch(self, request: WorkRequest) -> str | None:
        """Launch a run for a committed request; its id, or None when the sensor will have to."""
        try:
            for job in ASSET_JOBS.get(request.kind, ()):
                try:
                    return await self._launch(_asset_selector(job, request), request)
                except (Refusal, httpx.HTTPStatusError) as refusal:
                    # Most likely an entity newer than the loaded graph; Dagster answers 500 when
                    # the graph holds no asset at all.
                    logger.info("Launching %s without %s: %s", request.id, job, refusal)
            return await self._launch(_selector(ADHOC_JOBS[request.kind]), request)
        except (httpx.HTTPError, Refusal) as error:
            self._count("launch", f"work request {request.id}", error)
            return None

    async def terminate(self, run_id: str) -> bool:
        """Ask a run to stop; whether Dagster took the request."""
        try:
            answer = await self._ask("terminateRun", _TERMINATE, {"run": run_id})
            _require(answer, "TerminateRunSuccess")
        except (httpx.HTTPError, Refusal) as error:
            self._count("terminate", f"run {run_id}", error)
            return False
        return True

    async def healthy(self) -> bool:
        """Whether the webserver answers and has loaded the code location."""
        try:
            answer = await self._ask("locationStatusesOrError", _HEALTH, {})
        except (httpx.HTTPError, Refusal) as error:
            self._count("health", "the code location", error)
            return False
        return any(
            entry["name"] == LOCATION and entry["loadStatus"] == "LOADED"
            for entry in answer.get("entries", [])
        )

    def run_url(self, run_id: str) -> str:
        """The page of a run in Dagster's UI."""
        return f"{self._url}/runs/{run_id}"

    async def _launch(self, selector: dict[str, Any], request: WorkRequest) -> str:
        tags = {
            "hubblewave/request_id": str(request.id),
            "hubblewave/attempt": request.attempt_key,
            f"hubblewave/{request.kind}_id": str(request.ref_id),
        }
        params = {
            "selector": selector,
            "runConfigData": {},
            "executionMetadata": {
                "tags": [{"key": key, "value": value} for key, value in tags.items()]
            },
        }
        answer = await self._ask("launchRun", _LAUNCH, {"params": params})
        _require(answer, "LaunchRunSuccess")
        return str(answer["run"]["runId"])

    async def _ask(self, field: str, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """The answer's one field. Raises httpx.HTTPError or Refusal."""
        if self._client is None:
            raise Refusal("the client is not open")
        response = await self._client.post(
            "/graphql", json={"query": query, "variables": variables}
        )
        response.raise_for_status()
        try:
            answer = response.json()["data"][field]
        except (ValueError, KeyError, TypeError) as error:
            raise Refusal(f"unreadable answer: {response.text[:200]}") from error
        if not isinstance(answer, dict):
            raise Refusal(f"unreadable answer: {response.text[:200]}")
        return answer

    def _count(self, operation: str, subject: str, error: Exception) -> None:
        self.failures[operation] += 1
        logger.warning(
            "Dagster did not %s %s: %s %s", operation, subject, type(error).__name__, error
        )


def _require(answer: dict[str, Any], expected: str) -> None:
    if answer.get("__typename") != expected:
        raise Refusal(str(answer.get("message") or answer.get("__typename")))


def _selector(job: str) -> dict[str, Any]:
    return {
        "repositoryLocationName": LOCATION,
        "repositoryName": REPOSITORY,
        "jobName": job,
    }


def _asset_selector(job: str, request: WorkRequest) -> dict[str, Any]:
    selected = {"assetSelection": [{"path": list(request.asset_key)}]}
    return {**_selector(job), **selected}

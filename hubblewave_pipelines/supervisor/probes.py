"""Does a child answer: the API and webserver over HTTP, the code server over gRPC."""

import http.client
import json
import os
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

# Children are forked beside a live channel; gRPC's own fork handlers then abort some of them
# ("epoll_wait: Bad file descriptor") before they have become another program.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")  # noqa: TID251 - gRPC reads it on import

import grpc

from hubblewave_pipelines.core.entity import Json

_SECONDS = 3.0
_LOCATIONS = """
{ workspaceOrError { __typename ... on Workspace { locationEntries {
    name loadStatus locationOrLoadError { __typename ... on PythonError { message } } } }
    ... on PythonError { message } } }
"""
_DAEMONS = """
{ instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } } }
"""


def answers(url: str) -> bool:
    """Whether a GET of `url` gives 200."""
    return _request("GET", url, None)[0] == 200


def location_missing(dagster_url: str) -> str | None:
    """None once every code location is loaded; until then what is missing, for a person."""
    answer = _graphql(dagster_url, _LOCATIONS)
    if answer is None:
        return "Dagster's webserver does not answer"
    workspace = answer["workspaceOrError"]
    if workspace["__typename"] != "Workspace":
        return f"Dagster's workspace: {workspace.get('message', workspace['__typename'])}"
    for entry in workspace["locationEntries"]:
        loaded = entry["locationOrLoadError"] or {"__typename": "nothing"}
        if loaded["__typename"] == "PythonError":
            return f"code location {entry['name']}: {loaded['message'].strip()}"
        if entry["loadStatus"] != "LOADED" or loaded["__typename"] == "nothing":
            return f"code location {entry['name']} is loading"
    return None if workspace["locationEntries"] else "Dagster has no code location"


def daemon_missing(dagster_url: str) -> str | None:
    """None once each daemon Dagster needs has given a sign of life."""
    answer = _graphql(dagster_url, _DAEMONS)
    if answer is None:
        return "Dagster's webserver does not answer"
    statuses = answer["instance"]["daemonHealth"]["allDaemonStatuses"]
    late = [s["daemonType"] for s in statuses if s["required"] and not s["healthy"]]
    return f"no sign of life yet from the daemon's {', '.join(late)}" if late else None


def code_server_ping(host: str, port: int) -> Callable[[], bool]:
    """A probe of Dagster's code server. Its proxy forwards the ping to the process behind it, so
    the answer is False also when only that one is gone; a slow answer counts as alive."""
    channel = grpc.insecure_channel(
        f"{host}:{port}",
        options=[("grpc.max_reconnect_backoff_ms", 2000), ("grpc.enable_http_proxy", 0)],
    )
    # An empty message is a valid PingRequest, which saves importing Dagster (80 MB) here.
    ping = channel.unary_unary("/api.DagsterApi/Ping")

    def probe() -> bool:
        try:
            ping(b"", timeout=_SECONDS)
        except grpc.RpcError as error:
            return bool(error.code() == grpc.StatusCode.DEADLINE_EXCEEDED)
        return True

    return probe


def _graphql(dagster_url: str, query: str) -> dict[str, Any] | None:
    body = json.dumps({"query": query}).encode()
    status, text = _request("POST", f"{dagster_url}/graphql", body)
    if status != 200:
        return None
    data: Json = json.loads(text).get("data")
    return data if isinstance(data, dict) else None


def _request(method: str, url: str, body: bytes | None) -> tuple[int, bytes]:
    """Status and body; status 0 when there is no connection or no answer in time."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(
        parts.hostname or "127.0.0.1", parts.port or 80, timeout=_SECONDS
    )
    try:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        connection.request(method, parts.path or "/", body, headers)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()

"""`hubblewave sync` against a platform that answers by script: what is asked, told and exited with."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from typer.testing import CliRunner

from hubblewave_pipelines.commands.line import app

JOB = {"id": "0198c0de-0000-7000-8000-000000000001", "name": "Accounts"}
RUN: dict[str, Any] = {
    "id": "0198c0de-0000-7000-8000-000000000002",
    "syncJobId": JOB["id"],
    "status": "running",
    "processed": 5,
    "created": 3,
    "updated": 1,
    "unchanged": 0,
    "deleted": 0,
    "failed": 1,
    "requests": 7,
    "minRequests": 7,
    "notes": [{"code": "delete_brake", "detail": "30 records would be deleted"}],
    "error": None,
    "runUrl": None,
}


class Scripted:
    """`ends` is the status that a run comes to; `asked` are the bodies of POST .../run."""

    def __init__(self) -> None:
        self.ends = "success"
        self.asked: list[Any] = []
        self.looks = 0

    def answer(self, method: str, path: str, body: Any) -> Any:
        if path.startswith("/api/v1/sync-jobs?"):
            return {"items": [JOB], "pageInfo": {"hasNextPage": False}}
        if method == "POST":
            self.asked.append(body)
            return {**RUN, "status": "pending"}
        self.looks += 1
        return RUN if self.looks == 1 else {**RUN, "status": self.ends}


@pytest.fixture
def scripted() -> Iterator[tuple[Scripted, str]]:
    script = Scripted()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            found = json.dumps(script.answer(self.command, self.path, body)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(found)))
            self.end_headers()
            self.wfile.write(found)

        do_GET = do_POST = _answer

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield script, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("ends", "code"), [("success", 0), ("partial", 3), ("failed", 1)])
def test_a_job_is_run_by_name_and_followed(
    scripted: tuple[Scripted, str], ends: str, code: int
) -> None:
    script, url = scripted
    script.ends = ends
    window = ["--from", "2026-01-01T10:00:00Z", "--to", "2026-01-01T12:00:00Z"]
    command = ["sync", "accounts", *window, "--url", url, "--api-key", "hw_live_x"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == code, done.output
    assert script.asked == [{"from": window[1], "to": window[3]}]
    assert f"{ends}: 3 created, 1 updated" in done.output
    assert "7 requests (at least 7)" in done.output
    assert "delete_brake: 30 records would be deleted" in done.output


def test_a_job_that_is_not_there_is_named_with_those_that_are(
    scripted: tuple[Scripted, str],
) -> None:
    done = CliRunner().invoke(
        app, ["sync", "Orders", "--url", scripted[1], "--api-key", "hw_live_x"]
    )
    assert done.exit_code == 1
    assert 'There is no sync job "Orders"; there are Accounts' in done.output

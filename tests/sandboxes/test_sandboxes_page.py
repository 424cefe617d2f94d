"""docs/reference/sandboxes.md, executed: its command as a process, its requests against that, in order."""

import json
import re
import shlex
import signal
import subprocess
import sys
from itertools import takewhile
from pathlib import Path

import httpx

from hubblewave_pipelines.sandboxes.faults import FaultKind

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "sandboxes.md"


def test_what_the_page_says_can_be_typed() -> None:
    page = PAGE.read_text()
    (command,) = re.findall(r"```sh\nhubblewave (.+?)\n```", page)
    requests = re.findall(r"```http\n(GET|POST) (\S+)(?:\n(\{.+?))?\n```", page, re.DOTALL)
    assert len(requests) == page.count("```http") > 10
    program = [sys.executable, "-m", "hubblewave_pipelines", *shlex.split(command), "--json"]
    process = subprocess.Popen(program, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        lines = list(takewhile(lambda line: line != "}\n", process.stdout))
        told = json.loads("".join([*lines, "}"]))
        assert told["tables"]["Account"] == 500
        assert told["config"]["baseUrl"] == told["url"]
        with httpx.Client(base_url=told["url"], timeout=30) as http:
            for method, path, body in requests:
                answer = http.request(method, path, json=json.loads(body) if body else None)
                assert answer.status_code == 200, (path, body, answer.text)
            state = http.get("/__sandbox").json()
            assert (state["faults"]["set"], state["outages"]) == ([], [])
            assert state["tables"]["Account"] >= 499
            refused = http.post(
                "/__sandbox/edits", json={"table": "Account", "key": "x", "values": {}}
            )
            assert (refused.status_code, "error" in refused.json()) == (400, True)
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


def test_every_fault_is_on_the_page() -> None:
    table = PAGE.read_text().split("## Faults")[1].split("## Salesforce")[0]
    assert set(FaultKind) <= set(re.findall(r"`(\w+)`", table))

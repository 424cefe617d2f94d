"""Schemathesis, run against a served OpenAPI document: what it checks, and what it counts."""

import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

# All of its checks but one, which wants whatever fits the schemas accepted: that a record referred
# to exists, that a version is the present one, that a condition is well formed, no schema can say.
# A feed is left out, too: it waits as long as the request asks, which is half a minute at the most.
_CHECKS = ("--exclude-checks", "positive_data_acceptance", "--exclude-path-regex", "/changes$")
# What refuses a request that the schema forbids: too many items are 413, as too many bytes are.
_CONFIGURATION = """
[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 406, 409, 412, 413, 415, 422, 428]
"""
_QUIET = (
    "--suppress-health-check all --generation-database none --continue-on-failure --warnings off"
)
ENDED = 130
_CASES = re.compile(r"(\d[\d,]*) generated")


def without_long_lists(document: Any) -> Any:
    """The document without its limits on the number of items.

    Lists just below and above 1,000 records take minutes each to make up; that longer ones are
    refused is tested by itself.
    """
    if isinstance(document, list):
        return [without_long_lists(part) for part in document]
    if not isinstance(document, dict):
        return document
    kept = {k: v for k, v in document.items() if k != "maxItems" or not isinstance(v, int)}
    return {name: without_long_lists(part) for name, part in kept.items()}


def run(
    document: str, key: str, directory: Path, *options: str, seconds: float | None = None
) -> subprocess.CompletedProcess[str]:
    """Run to the end, or for so many seconds, and return what it printed.

    Exit code 0 means that it found nothing, ENDED that it had found nothing when its time was over.
    """
    (directory / "schemathesis.toml").write_text(_CONFIGURATION)
    program = str(Path(sys.executable).with_name("schemathesis"))
    command = [
        *(program, "--no-color", "run", document, "--header", f"X-API-Key:{key}"),
        *(*_CHECKS, *_QUIET.split(), *options),
    ]
    with subprocess.Popen(
        command,
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # What a shell started in the background ignores the signal, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as started:
        try:
            out, err = started.communicate(timeout=seconds)
            code = started.returncode
        except subprocess.TimeoutExpired:
            started.send_signal(signal.SIGINT)  # it still says what it found
            try:
                out, err = started.communicate(timeout=15)
            except subprocess.TimeoutExpired:
                started.kill()
                out, err = started.communicate()
            code = 1 if "= FAILURES =" in out or "= ERRORS =" in out else ENDED
    return subprocess.CompletedProcess(command, code, out, err)


def cases(printed: str) -> int:
    """How many requests it made."""
    found = _CASES.search(printed)
    return int(found[1].replace(",", "")) if found else 0

"""Schemathesis, run against a served OpenAPI document: what it checks, and what it counts."""

import re
import subprocess
import sys
from pathlib import Path

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
_CASES = re.compile(r"(\d[\d,]*) generated")


def run(
    document: str, key: str, directory: Path, *options: str, seconds: float | None = None
) -> subprocess.CompletedProcess[str]:
    """Run to the end and return what it printed; exit code 0 means that it found nothing."""
    (directory / "schemathesis.toml").write_text(_CONFIGURATION)
    program = str(Path(sys.executable).with_name("schemathesis"))
    return subprocess.run(
        [
            *(program, "--no-color", "run", document, "--header", f"X-API-Key:{key}"),
            *(*_CHECKS, *_QUIET.split(), *options),
        ],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def cases(printed: str) -> int:
    """How many requests it made."""
    found = _CASES.search(printed)
    return int(found[1].replace(",", "")) if found else 0

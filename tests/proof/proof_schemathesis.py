"""Proof: thousands of requests made from a rich tenant's OpenAPI document find nothing wrong.

Usage: python -m tests.proof.proof_schemathesis [how long of 10 minutes, 1.0].
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import httpx

from tests.facade import rich
from tests.plugins import fuzz
from tests.plugins.stack import Up

# The key that asks must survive, so keys are made and read but not revoked.
GROUPS = {
    "records without rules": "^/tags",
    "records with rules": "^/orders",
    "records of every type": "^/customers",
    "definitions and keys": "^/(entities|api-keys|openapi|jobs)",
    "imports and exports": "^/(imports|exports|import-watches)",
    "webhooks": "^/(webhooks|event-types)",
}
# Each pass in a process of its own with an end of its own: whether it spends its time in requests
# or in making them up is for the generator to say.
PASSES = {"examples,coverage": "45", "fuzzing": "20", "stateful": "15"}
# A filter holds filters: what is made up for such a body grows with each level, for minutes without
# one request. The fuzzing pass asks there, and the property tests of filters do.
ENDLESS = "/query$|/changes$"


def main() -> None:
    factor = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    failed, unfinished, total, started = False, 0, 0, time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        limits = {"HUBBLEWAVE_RATE_LIMITS": '{"enterprise": 10000000}'}
        up = Up(directory / "data", limits)
        up.start()
        try:
            url, headers = up.wait_ready()["api_url"], {"X-API-Key": up.api_key}
            with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
                rich.define(client)
                served = client.get("/api/v1/openapi.json").raise_for_status().json()
            document = directory / "openapi.json"
            document.write_text(json.dumps(fuzz.without_long_lists(served)))
            for group, paths in GROUPS.items():
                for phases, seconds in PASSES.items():
                    most = float(seconds) * factor
                    options = ["--url", f"{url}/api/v1", "--phases", phases]
                    options += ["--max-time", str(max(1, round(most)))]
                    options += ["--include-path-regex", paths]
                    if "coverage" in phases:
                        options += ["--exclude-path-regex", ENDLESS]
                    options += ["--exclude-operation-id", "platform_revoke_key"]
                    ran = fuzz.run(
                        str(document), up.api_key, directory, *options, seconds=most * 1.2 + 10
                    )
                    found = ran.returncode not in (0, fuzz.ENDED)
                    unfinished += ran.returncode == fuzz.ENDED
                    count = fuzz.cases(ran.stdout)
                    total += count
                    said = "something" if found else "nothing"
                    ended = ", ended by its time" if ran.returncode == fuzz.ENDED else ""
                    print(f"{group}, {phases}: {count:,} requests, {said} found{ended}", flush=True)
                    if found:
                        print(ran.stdout, ran.stderr, flush=True)
                        failed = True
        finally:
            up.stop()
    took = time.monotonic() - started
    figures = {"requests": total, "unfinished_passes": unfinished, "seconds": round(took)}
    print(json.dumps({"proof": "schemathesis", **figures}))
    assert not failed, "schemathesis found what is printed above"


if __name__ == "__main__":
    main()

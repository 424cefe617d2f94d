"""Proof: thousands of requests made from a rich tenant's OpenAPI document find nothing wrong.

Usage: python -m tests.proof.proof_schemathesis [seconds per group of paths, 240].
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

PHASES = "examples,coverage,fuzzing,stateful"
# The key that asks must survive, so keys are made and read but not revoked.
GROUPS = {
    "records without rules": ["--include-path-regex", "^/tags"],
    "records with rules": ["--include-path-regex", "^/orders"],
    "records of every type": ["--include-path-regex", "^/customers"],
    "fixed paths": [
        *("--include-path-regex", "^/(entities|imports|api-keys|openapi)"),
        *("--exclude-operation-id", "platform_revoke_key"),
    ],
}


def main() -> None:
    seconds = sys.argv[1] if len(sys.argv) > 1 else "240"
    failed, total, started = False, 0, time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        limits = {"HUBBLEWAVE_RATE_LIMITS": '{"enterprise": 10000000}'}
        up = Up(Path(directory) / "data", limits)
        up.start()
        try:
            url, headers = up.wait_ready()["api_url"], {"X-API-Key": up.api_key}
            with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
                rich.define(client)
            for name, chosen in GROUPS.items():
                options = ["--phases", PHASES, "--max-time", seconds, *chosen]
                document = f"{url}/api/v1/openapi.json"
                ran = fuzz.run(document, up.api_key, Path(directory), *options)
                count = fuzz.cases(ran.stdout)
                total += count
                print(
                    f"{name}: {count:,} requests, {'found' if ran.returncode else 'nothing'}",
                    flush=True,
                )
                if ran.returncode:
                    print(ran.stdout, ran.stderr, flush=True)
                    failed = True
        finally:
            up.stop()
    took = time.monotonic() - started
    print(json.dumps({"proof": "schemathesis", "requests": total, "seconds": round(took)}))
    assert not failed, "schemathesis found what is printed above"


if __name__ == "__main__":
    main()

"""Proof: what the platform does with PostgreSQL 18 it does with 15, 16 and 17.

Runs the tests of storage, imports and the facade that need no whole platform, once on each.
"""

import json
import re
import subprocess
import sys
import time

SUITES = ("tests/storage", "tests/transfer", "tests/facade")


def passed_on(major: int) -> int:
    """How many tests passed on that version; ends the proof when one did not."""
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadgroup"),
            *("-m", "not stack and not browser", f"--postgres-major={major}", *SUITES),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode != 0:
        print(ran.stdout)
        raise SystemExit(f"PostgreSQL {major}: pytest ended with {ran.returncode}")
    found = re.search(r"(\d+) passed", ran.stdout)
    assert found is not None, ran.stdout
    return int(found[1])


def main(majors: tuple[int, ...]) -> None:
    started = time.monotonic()
    passed = {}
    for major in majors:
        passed[str(major)] = passed_on(major)
        print(f"PostgreSQL {major}: {passed[str(major)]} passed, 0 failed")
    seconds = round(time.monotonic() - started)
    print(json.dumps({"proof": "postgres_versions", "passed": passed, "seconds": seconds}))


if __name__ == "__main__":
    main(tuple(int(major) for major in sys.argv[1:]) or (15, 16, 17))

"""Proof: kill -9 of the run at random moments of the flights import changes nothing in the end."""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

from tests.proof.flights_stack import FlightsStack, flights_stack

RECOVERY_SECONDS = 300


def command_line(pid: int) -> str:
    """Empty once the process has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def run_processes(root: int) -> list[int]:
    """Processes that execute a run now: the children of the warm runner below `root`."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = path.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue  # it ended while we looked
        parents[int(path.parent.name)] = int(after_name[1])
    below = {root}
    while more := {pid for pid, parent in parents.items() if parent in below} - below:
        below |= more
    runners = {pid for pid in below if "definitions.runner" in command_line(pid)}
    return [pid for pid in runners if parents[pid] in runners]


def killed_import(stack: FlightsStack, delay: float) -> tuple[dict[str, Any], int]:
    """Upload, wait `delay` seconds from the run's start, kill its process, follow to the end."""
    with stack.files["flights.csv"].open("rb") as content:
        response = stack.client.post(
            "/api/v1/imports",
            files={"file": ("flights.csv", content, "text/csv")},
            data={
                "entity": "Flight",
                "mapping": json.dumps(stack.flights.mapping),
                "options": json.dumps(stack.flights.options()),
            },
        )
    response.raise_for_status()
    job: dict[str, Any] = response.json()
    deadline = time.monotonic() + RECOVERY_SECONDS
    while not (victims := run_processes(stack.platform.process.pid)):
        assert time.monotonic() < deadline, "no run process appeared"
        time.sleep(0.02)
    time.sleep(delay)
    killed = 0
    for pid in victims:
        try:
            os.kill(pid, signal.SIGKILL)
            killed += 1
        except ProcessLookupError:
            continue  # it had finished: the moment was after the end
    while job["status"] in ("pending", "processing"):
        assert time.monotonic() < deadline, f"not recovered: {job}"
        time.sleep(0.5)
        job = stack.client.get(f"/api/v1/imports/{job['id']}").json()
    return job, killed


def main(kills: int, seed: int) -> None:
    rng = random.Random(seed)
    started = time.monotonic()
    with flights_stack() as stack:
        begun = time.monotonic()
        clean = stack.import_flights()
        span = time.monotonic() - begun
        expected = stack.fingerprint()
        print(f"clean import: {expected[0]:,} rows in {span:.1f} s, digest {expected[1]}")
        killed_in_time = 0
        for number in range(kills):
            stack.empty()
            delay = rng.uniform(0, span)
            begun = time.monotonic()
            job, killed = killed_import(stack, delay)
            killed_in_time += killed
            found = stack.fingerprint()
            took = time.monotonic() - begun
            print(
                f"kill {number + 1:>2} after {delay:5.2f} s: {'hit ' if killed else 'late'} "
                f"{job['status']}, {found[0]:,} rows, total {took:.1f} s"
            )
            assert found == expected, "the table differs from one clean import"
            for count in ("totalRecords", "successRecords", "failedRecords", "createdRecords"):
                assert job[count] == clean[count], (count, job[count], clean[count])
        assert killed_in_time >= kills // 2, "too few kills met a running import"
        summary = {
            "proof": "kill_import",
            "kills": kills,
            "hit": killed_in_time,
            "rows": expected[0],
            "differences": 0,
            "seed": seed,
            "seconds": round(time.monotonic() - started),
        }
        print(json.dumps(summary))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10, random.randrange(2**32))

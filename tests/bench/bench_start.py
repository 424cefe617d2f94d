"""Bench: `hubblewave up` to ready, on a fresh directory and again, and what it holds when idle."""

import json
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.plugins.stack import Up

TARGET_SECONDS = 20


def pss_megabytes(pid: int) -> float:
    """A process's share of memory: pages shared by n processes count as 1/n."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


def role(pid: int) -> str:
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
    known = {
        "dagster_webserver": "webserver",
        "dagster._daemon": "daemon",
        "code-server": "code server",
        "dagster._grpc": "code server",
        "api grpc": "code server",
        "definitions.runner": "runner",
        "definitions.graph": "graph keeper",
        "api.app": "api",
        "postgres": "postgres",
        "guard": "guard",
        "hubblewave_pipelines up": "supervisor",
    }
    return next((name for mark, name in known.items() if mark in words), words[:40])


def main() -> None:
    console = Console()
    with tempfile.TemporaryDirectory(prefix="hw-bench-") as directory:
        up = Up(Path(directory) / "data")
        seconds: dict[str, float] = {}
        for label in ("fresh directory", "again", "a third time"):
            begun = time.monotonic()
            up.start()
            up.wait_ready()
            seconds[label] = time.monotonic() - begun
            if label != "a third time":
                up.stop()
        time.sleep(10)  # until what happens only after a start has happened
        memory: dict[str, float] = defaultdict(float)
        for pid in up.processes():
            memory[role(pid)] += pss_megabytes(pid)
        up.stop()
    table = Table("start of `up` to ready", "seconds")
    for label, taken in seconds.items():
        table.add_row(label, f"{taken:.1f}")
    console.print(table)
    table = Table("idle, by process", "MB (PSS)")
    for name, megabytes in sorted(memory.items(), key=lambda item: -item[1]):
        table.add_row(name, f"{megabytes:.0f}")
    table.add_row("all", f"{sum(memory.values()):.0f}")
    console.print(table)
    print(
        json.dumps(
            {
                "bench": "start",
                "seconds": {label: round(taken, 1) for label, taken in seconds.items()},
                "target_seconds": TARGET_SECONDS,
                "idle_mb": round(sum(memory.values())),
                "idle_mb_by_process": {name: round(mb) for name, mb in memory.items()},
            }
        )
    )


if __name__ == "__main__":
    main()

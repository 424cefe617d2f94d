"""The command line of each child process."""

import sys
from pathlib import Path

from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.supervisor import guard as guard_program


def guard(data_dir: Path) -> list[str]:
    return [sys.executable, "-I", "-S", str(Path(guard_program.__file__)), str(data_dir)]


def api(settings: Settings) -> list[str]:
    arguments = [sys.executable, "-m", "uvicorn", "api.app:create_app", "--factory"]
    arguments += ["--host", settings.api_host, "--port", str(settings.api_port)]
    arguments += ["--workers", str(settings.api_workers)] if settings.api_workers > 1 else []
    arguments += ["--no-access-log", "--no-server-header", "--log-level", "warning"]
    # The API closes a socket over its own limit with its own words; this stops what is far beyond.
    arguments += ["--ws-max-size", str(settings.websocket_message_bytes * 2)]
    return [*arguments, "--timeout-graceful-shutdown", "5"]


def worker() -> list[str]:
    return [sys.executable, "-m", "hubblewave_pipelines", "worker"]


def code_server(settings: Settings) -> list[str]:
    arguments = [sys.executable, "-m", "dagster", "code-server", "start"]
    arguments += ["-m", "hubblewave_pipelines.definitions.location"]
    arguments += ["--location-name", "hubblewave", "--log-level", "warning"]
    return [
        *arguments,
        *("-h", settings.code_location_host, "-p", str(settings.code_location_port)),
        "--use-python-environment-entry-point",
    ]


def runner() -> list[str]:
    return [sys.executable, "-m", "hubblewave_pipelines.definitions.runner"]


def graph() -> list[str]:
    return [sys.executable, "-m", "hubblewave_pipelines.definitions.graph"]


def webserver(settings: Settings) -> list[str]:
    arguments = [sys.executable, "-m", "dagster_webserver", "-w", str(_workspace(settings))]
    arguments += ["-h", settings.dagster_host, "-p", str(settings.dagster_port)]
    return [*arguments, "--dagster-log-level", "warning"]


def daemon(settings: Settings) -> list[str]:
    arguments = [sys.executable, "-m", "dagster._daemon", "run", "-w", str(_workspace(settings))]
    return [*arguments, "--log-level", "warning"]  # at info it says every 5 s that nothing is due


def _workspace(settings: Settings) -> Path:
    return settings.data_dir / "dagster" / "workspace.yaml"

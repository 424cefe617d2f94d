"""deploy/: checked as far as is possible without a container engine."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from compose_spec import ComposeSpecification
from dagster._core.instance.config import dagster_instance_config

from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.supervisor import programs

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
# What a machine with containers may say differently: where files go, nothing else.
OWN_KEYS = {"local_artifact_storage"}


@pytest.fixture
def compose() -> dict[str, Any]:
    loaded = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    assert isinstance(loaded, dict)
    return loaded


def test_the_dockerfile_passes_hadolint() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("hadolint"), DEPLOY / "Dockerfile"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_what_the_dockerfile_copies_is_not_ignored() -> None:
    allowed = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] == "!"
    }
    copied = set()
    for line in (DEPLOY / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            copied.update(line.split()[1:-1])
    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)


def test_the_image_does_not_run_as_root() -> None:
    users = [
        line.split()[1]
        for line in (DEPLOY / "Dockerfile").read_text().splitlines()
        if line.startswith("USER ")
    ]
    assert users[-1].split(":")[0] not in {"0", "root"}


def test_compose_is_a_valid_compose_file(compose: dict[str, Any]) -> None:
    services = ComposeSpecification.model_validate(compose).services
    assert services is not None
    assert {"postgres", "redis", "migrate", "api", "code", "runner"} <= set(services)
    assert {"webserver", "daemon", "graph", "worker"} <= set(services)


def test_every_variable_of_compose_is_a_setting(compose: dict[str, Any]) -> None:
    known = {f"HUBBLEWAVE_{name.upper()}" for name in Settings.model_fields}
    for name, service in compose["services"].items():
        given = service.get("environment", {})
        ours = {variable for variable in given if variable.startswith("HUBBLEWAVE_")}
        assert ours <= known, name


def test_files_that_compose_mounts_exist(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).is_file(), source


def test_compose_starts_the_programs_that_up_starts(compose: dict[str, Any]) -> None:
    settings = Settings()
    wanted = {
        "api": programs.api(settings),
        "code": programs.code_server(settings),
        "runner": programs.runner(),
        "graph": programs.graph(),
    }
    for name, arguments in wanted.items():
        service = compose["services"][name]
        line = [*service["entrypoint"], *service.get("command", [])]
        module = [word for word in arguments if "." in word and word.split(".")[0] in OURS]
        assert set(module) <= set(line), name


OURS = {"api", "hubblewave_pipelines"}


def test_only_loopback_ports_are_published(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:")


def test_every_long_running_service_of_compose_has_a_health_check(compose: dict[str, Any]) -> None:
    without = {
        name for name, service in compose["services"].items() if "healthcheck" not in service
    }
    assert without == {"migrate", "graph"}


def manifests() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / "k8s" / "hubblewave.yaml").read_text()))


@pytest.mark.parametrize(
    "manifest", manifests(), ids=lambda each: f"{each['kind']}-{each['metadata']['name']}"
)
def test_every_kubernetes_manifest_is_valid(manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


def test_kubernetes_runs_one_daemon_and_never_two_at_once() -> None:
    [orchestrator] = [m for m in manifests() if m["metadata"]["name"] == "orchestrator"]
    assert orchestrator["spec"]["replicas"] == 1
    assert orchestrator["spec"]["strategy"] == {"type": "Recreate"}


def test_every_variable_of_kubernetes_is_a_setting() -> None:
    known = {f"HUBBLEWAVE_{name.upper()}" for name in Settings.model_fields}
    [given] = [m["data"] for m in manifests() if m["kind"] == "ConfigMap"]
    assert set(given) <= known


def variants() -> list[Path]:
    return sorted(path.parent for path in DEPLOY.rglob("dagster.yaml"))


def instance_config(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, Any]:
    monkeypatch.setenv("HUBBLEWAVE_DATABASE_URL", "postgresql://x@/hubblewave")
    monkeypatch.setenv("HUBBLEWAVE_DAGSTER_DATABASE_URL", "postgresql+psycopg2://x@/dagster")
    config, _ = dagster_instance_config(str(directory))
    return config


@pytest.mark.parametrize("directory", variants(), ids=str)
def test_every_variant_of_dagster_yaml_agrees_with_the_embedded_one(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded = instance_config(ROOT, monkeypatch)
    deployed = instance_config(directory, monkeypatch)
    different = {
        key for key in embedded.keys() | deployed.keys() if embedded.get(key) != deployed.get(key)
    }
    assert different <= OWN_KEYS


@pytest.mark.parametrize("directory", variants(), ids=str)
def test_every_variant_of_workspace_yaml_is_the_embedded_one(directory: Path) -> None:
    embedded = yaml.safe_load((ROOT / "workspace.yaml").read_text())
    assert yaml.safe_load((directory / "workspace.yaml").read_text()) == embedded

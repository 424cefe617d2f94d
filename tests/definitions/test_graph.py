"""The graph: pinned line by line, loaded without network, following rows without restart."""

import json
import subprocess
import sys
from pathlib import Path

import dagster as dg

from hubblewave_pipelines.core.definition import to_stored
from hubblewave_pipelines.definitions.entities import STATE_KEY, definitions_of, state_of
from hubblewave_pipelines.storage.defs_states import GraphRow
from tests.definitions.scripted import GRAPH, entity, graph_row

ROOT = Path(__file__).parents[2]
SNAPSHOT = Path(__file__).parent / "graph.txt"
OFFLINE = """
import socket
def refuse(*arguments, **options):
    raise AssertionError("definitions opened a socket")
socket.socket.connect = refuse
socket.create_connection = refuse
from hubblewave_pipelines.definitions.location import defs
repository = defs.get_repository_def()
repository.load_all_definitions()
print(sorted(repository.job_names), sorted(sensor.name for sensor in repository.sensor_defs))
"""


def loaded(rows: list[GraphRow]) -> dg.RepositoryDefinition:
    repository = definitions_of(json.loads(state_of(rows)), "1").get_repository_def()
    repository.load_all_definitions()
    return repository


def described(repository: dg.RepositoryDefinition) -> str:
    """One line for each asset, check, job, sensor and schedule."""
    graph = repository.asset_graph
    lines = []
    for key in sorted(graph.get_all_asset_keys()):
        node = graph.get(key)
        parents = ", ".join(sorted(parent.to_user_string() for parent in node.parent_keys))
        lines.append(
            f"asset {key.to_user_string()} | {'runs' if node.is_executable else 'shown'}"
            f" | group {node.group_name} | kinds {', '.join(sorted(node.kinds))}"
            f" | after {parents or 'nothing'} | pool {', '.join(sorted(node.pools or ())) or 'none'}"
        )
    lines += sorted(
        f"check {check.asset_key.to_user_string()} {check.name}" for check in graph.asset_check_keys
    )
    lines += sorted(
        f"job {job.name} | {job.executor_def.name}"
        for job in repository.get_all_jobs()
        if not job.name.startswith("__")
    )
    lines += sorted(
        f"sensor {sensor.name} | every {sensor.minimum_interval_seconds} s"
        f" | {sensor.default_status.value}"
        for sensor in repository.sensor_defs
    )
    lines += sorted(
        f"schedule {schedule.name} | {schedule.cron_schedule} | {schedule.default_status.value}"
        for schedule in repository.schedule_defs
    )
    return "\n".join(lines) + "\n"


def test_the_graph_is_the_pinned_one() -> None:
    """A change shows in review; to accept it, write the new text into graph.txt."""
    assert described(loaded(GRAPH)) == SNAPSHOT.read_text()


def test_the_location_loads_with_sockets_off_and_no_settings() -> None:
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE],
        cwd=ROOT,
        env={},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == (
        "['connector_ask', 'event_retention', 'export_adhoc', 'history_retention', 'import_adhoc',"
        " 'import_revert',"
        " 'redrive_dead_letters', 'sync_adhoc', 'upload_retention']"
        " ['dispatch', 'reconcile', 'watch']"
    )


def test_relations_in_a_circle_make_no_dependency() -> None:
    rows = [
        graph_row("acme", entity("airports", "Airport", target="Flight")),
        graph_row("acme", entity("flights", "Flight", target="Airport")),
    ]
    graph = loaded(rows).asset_graph
    flights = graph.get(dg.AssetKey(["entity", "acme", "flights"]))
    assert flights.parent_keys == {dg.AssetKey(["import", "acme", "flights"])}
    assert "home: manyToOne to Airport" in flights.metadata["relations"].value


def test_one_op_serves_all_imports_of_a_tenant() -> None:
    rows = [graph_row("acme", entity(f"e{n}", f"Thing{n}")) for n in range(50)]
    repository = loaded(rows)
    assert [node.name for node in repository.get_job("imports").nodes] == ["import_acme"]


def test_the_same_rows_make_the_same_state() -> None:
    assert state_of(GRAPH) == state_of(list(GRAPH))


def test_the_state_shows_no_physical_name() -> None:
    """Opaque names are of no use to a reader, and of some to an attacker."""
    shown = entity("airports", "Airport")
    state = state_of([GraphRow("acme", "Acme", "t_secretxx", "airports", to_stored(shown))])
    assert b"t_secretxx" not in state
    assert shown.id.encode() not in state


def test_tenants_with_hyphens_have_loadable_names() -> None:
    graph = loaded(GRAPH).asset_graph
    assert graph.get(dg.AssetKey(["import", "other-one", "airports"])).group_name == "other_one"


def test_the_components_key_is_stable() -> None:
    """Stored states are found by it; a new key would show an empty graph once."""
    assert STATE_KEY == "hubblewave-entities"

"""What we use of Dagster that it does not promise. When a new version breaks one of these, the
public way round is named in the test."""

import inspect
from pathlib import Path

import dagster as dg
import sqlalchemy as sa
from dagster._cli.api import _execute_run_command_body
from dagster._core.definitions.definitions_load_context import (
    DefinitionsLoadContext,
    DefinitionsLoadType,
)
from dagster._core.definitions.repository_definition import RepositoryLoadData
from dagster._core.instance.config import dagster_instance_config
from dagster._core.storage.defs_state.base import DefsStateStorage, set_defs_state_storage
from dagster._grpc.client import DagsterGrpcClient
from dagster_shared.serdes.objects.models.defs_state_info import DefsStateInfo

from hubblewave_pipelines.definitions import entities
from hubblewave_pipelines.definitions.defs_state import PgDefsStateStorage
from hubblewave_pipelines.definitions.launcher import WarmRunLauncher
from hubblewave_pipelines.definitions.location import tree
from tests.definitions.conftest import Home
from tests.definitions.scripted import GRAPH

ROOT = Path(__file__).parents[2]
INITIALIZATION = DefinitionsLoadType.INITIALIZATION


def test_the_body_of_dagsters_run_worker_takes_what_we_give_it() -> None:
    """Way round: `dagster api execute_run` in a new interpreter."""
    assert list(inspect.signature(_execute_run_command_body).parameters) == [
        "run_id",
        "instance",
        "write_stream_fn",
        "set_exit_code_on_failure",
    ]


def test_the_code_server_can_be_given_a_new_state() -> None:
    """Way round: GraphQL reloadRepositoryLocation."""
    parameters = inspect.signature(DagsterGrpcClient.reload_code_with_state).parameters
    assert list(parameters) == ["self", "serialized_defs_state_info", "timeout"]


def test_our_state_storage_is_a_whole_one() -> None:
    """Way round: UPathDefsStateStorage on a shared disk."""
    assert DefsStateStorage.__abstractmethods__ == {
        "get_latest_defs_state_info",
        "download_state_to_path",
        "upload_state_from_path",
        "set_latest_version",
    }
    assert not inspect.isabstract(PgDefsStateStorage)


def test_our_launcher_is_a_whole_one() -> None:
    """Way round: DefaultRunLauncher in dagster.yaml."""
    assert not inspect.isabstract(WarmRunLauncher)
    assert WarmRunLauncher().supports_check_run_worker_health


def test_the_storages_of_a_forked_run_can_be_given_an_engine(home: Home) -> None:
    """Way round: none needed; without it each query opens a connection."""
    with home.instance() as instance:
        for storage in (instance.run_storage, instance.event_log_storage):
            assert isinstance(storage._engine, sa.Engine)
            assert storage.postgres_url.startswith("postgresql+psycopg2://")


def test_the_component_tree_knows_our_component_and_its_key() -> None:
    [component] = tree.get_all_components(of_type=entities.EntityGraph)
    assert component.defs_state_config.key == entities.STATE_KEY


def test_a_new_state_rebuilds_the_whole_location(database_url: str) -> None:
    """As the code server does it: everything we define must live in the component."""
    storage = PgDefsStateStorage(database_url)
    storage.store(entities.STATE_KEY, "v1", entities.state_of(GRAPH))
    with set_defs_state_storage(storage):
        with DefinitionsLoadContext.scoped(DefinitionsLoadContext(INITIALIZATION)):
            fresh = dg.ComponentTree.from_module(
                defs_module=tree.defs_module, project_root=tree.project_root
            )
            repository = fresh.build_defs().get_repository_def()
        assert (
            dg.AssetKey(["import", "acme", "flights"])
            in repository.asset_graph.get_all_asset_keys()
        )
        storage.store(entities.STATE_KEY, "v2", entities.state_of(GRAPH[:1]))
        pinned = RepositoryLoadData(
            defs_state_info=DefsStateInfo.add_version(None, entities.STATE_KEY, "v2")
        )
        with DefinitionsLoadContext.scoped(DefinitionsLoadContext(INITIALIZATION, pinned)):
            repository = fresh.reload_with_state([entities.STATE_KEY]).get_repository_def()
    keys = repository.asset_graph.get_all_asset_keys()
    assert dg.AssetKey(["import", "acme", "airports"]) in keys
    assert dg.AssetKey(["import", "acme", "flights"]) not in keys
    assert {sensor.name for sensor in repository.sensor_defs} == {"dispatch", "reconcile", "watch"}
    assert repository.has_job("event_retention")


def test_dagster_yaml_is_valid_and_says_what_the_design_needs() -> None:
    config, _ = dagster_instance_config(str(ROOT))
    assert config["run_launcher"]["class"] == "WarmRunLauncher"
    assert config["run_queue"]["dequeue_interval_seconds"] == 1
    assert config["run_queue"]["max_user_code_failure_retries"] == 20
    assert config["run_monitoring"]["free_slots_after_run_end_seconds"] == 30
    assert config["telemetry"]["enabled"] is False

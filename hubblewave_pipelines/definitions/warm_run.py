"""What a forked child does: execute one run as Dagster's own worker would, under a lease."""

import importlib
import logging
import sys

from dagster import DagsterInstance, DagsterRun
from dagster._cli.api import _execute_run_command_body
from dagster._core.definitions.definitions_load_context import (
    DefinitionsLoadContext,
    DefinitionsLoadType,
)
from dagster._core.definitions.repository_definition import RepositoryLoadData
from dagster._utils.interrupts import capture_interrupts
from dagster_postgres.event_log.event_log import PostgresEventLogStorage
from dagster_postgres.run_storage.run_storage import PostgresRunStorage
from dagster_postgres.utils import create_pg_engine

from hubblewave_pipelines.core.errors import LostLease
from hubblewave_pipelines.definitions.attempt import hold_lease_of_process
from hubblewave_pipelines.definitions.entities import STATE_KEY, VERSION_METADATA
from hubblewave_pipelines.definitions.resources import Platform

logger = logging.getLogger("hubblewave.runner")
STALE = 3  # exit code: the run went well, and pinned other definitions than the runner holds
LOCATION = "hubblewave_pipelines.definitions.location"


def execute(run_id: str) -> int:
    """Execute the run to its end, whatever it is; its outcome is in Dagster's event log."""
    with capture_interrupts(), DagsterInstance.get() as instance:
        run = instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            logger.warning("Run %s is not there to be executed", run_id)
            return 0
        try:
            hold_lease_of_process(Platform().database, run_id)
        except LostLease as error:
            logger.warning("Run %s is not executed twice: %s", run_id, error.detail)
            return 0
        _keep_connections(instance)
        stale = _load_pinned(instance, run)
        code = _execute_run_command_body(
            run_id, instance, lambda _event: None, set_exit_code_on_failure=False
        )
        return code or (STALE if stale else 0)


def _keep_connections(instance: DagsterInstance) -> None:
    """dagster-postgres opens a connection for each query, some 35 in the smallest run, which is a
    third of its time. This process ends with its one run, so it may keep two."""
    for storage in (instance.run_storage, instance.event_log_storage):
        if isinstance(storage, (PostgresRunStorage, PostgresEventLogStorage)):
            storage._engine = create_pg_engine(
                storage.postgres_url,
                storage._token_provider,
                isolation_level="AUTOCOMMIT",
                pool_size=2,
                pool_pre_ping=True,  # PostgreSQL may be restarted under a long run
            )


def report_death(run_id: str, why: str) -> int:
    """Tell Dagster that the process of a run ended without ending the run."""
    with DagsterInstance.get() as instance:
        run = instance.get_run_by_id(run_id)
        if run is not None and not run.is_finished:
            instance.report_run_failed(run, f"The process of this run ended by {why}.")
    return 0


def _load_pinned(instance: DagsterInstance, run: DagsterRun) -> bool:
    """Build the definitions the run was queued with, when the runner's are of another version."""
    data = pinned_load_data(instance, run)
    if data is None or data.defs_state_info is None:
        return False
    module = sys.modules[LOCATION]
    held = module.defs.metadata[VERSION_METADATA].value
    if (data.defs_state_info.get_version(STATE_KEY) or "none") == held:
        return False
    DefinitionsLoadContext.set(DefinitionsLoadContext(DefinitionsLoadType.RECONSTRUCTION, data))
    importlib.reload(module)
    return True


def pinned_load_data(instance: DagsterInstance, run: DagsterRun) -> RepositoryLoadData | None:
    """Which version of the state the run's plan was made from."""
    if not run.has_repository_load_data or run.execution_plan_snapshot_id is None:
        return None
    return instance.get_execution_plan_snapshot(run.execution_plan_snapshot_id).repository_load_data

"""Keeps Dagster's graph in step with the entity definitions, without restarting anything.

`python -m hubblewave_pipelines.definitions.graph`, one process per platform: it notices a changed
catalog within a second, stores the new state, and has the code server rebuild from it.
"""

import hashlib
import logging
import signal
import threading
from types import FrameType

import httpx
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._grpc.client import DagsterGrpcClient
from dagster._serdes import deserialize_value, serialize_value
from dagster_shared.error import SerializableErrorInfo
from dagster_shared.serdes.objects.models.defs_state_info import DefsStateInfo
from psycopg import OperationalError

from hubblewave_pipelines.core.errors import PlatformError, Unavailable
from hubblewave_pipelines.definitions.defs_state import PgDefsStateStorage
from hubblewave_pipelines.definitions.entities import STATE_KEY, read_state_of_graph
from hubblewave_pipelines.definitions.launcher import ask_runner
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage.database import Database, Role
from hubblewave_pipelines.storage.defs_states import graph_mark

logger = logging.getLogger("hubblewave.graph")
LOCATION_NAME = "hubblewave"
_EVERY_SECONDS = 1.0
_RELOAD_SECONDS = 60
_RELOAD = """
mutation Reload($name: String!) { reloadRepositoryLocation(repositoryLocationName: $name) {
    __typename ... on PythonError { message } ... on UnauthorizedError { message } } }
"""


class GraphKeeper:
    """Remembers what it saw and published last."""

    def __init__(self, settings: Settings) -> None:
        url = settings.require_database_url()
        self._settings = settings
        self._database = Database(url, Role.WORKER, size=1)
        self._storage = PgDefsStateStorage(url, str(settings.data_dir / "defs-state"))
        self._seen: tuple[int, int, str, str] | None = None
        self._loaded: str | None = None  # the version the code server is known to hold

    def step(self) -> str | None:
        """Publish the definitions if they changed; returns the version published.

        Raises Unavailable while the database or Dagster cannot be reached; the next step tries
        again.
        """
        try:
            with self._database.transaction() as tx:
                mark = tx.one(graph_mark())
            if mark == self._seen:
                return None
            version = self._publish(read_state_of_graph(self._database))
        except OperationalError as error:
            raise Unavailable(f"PostgreSQL does not answer: {error}") from error
        self._seen = mark
        return version

    def _publish(self, state: bytes) -> str | None:
        """The version is the content's digest, so an unchanged graph is not loaded twice."""
        version = hashlib.sha256(state).hexdigest()[:32]
        if version == self._loaded:
            return None
        if self._storage.get_latest_version(STATE_KEY) != version:
            self._storage.store(STATE_KEY, version, state)
        reload_location(self._settings, DefsStateInfo.add_version(None, STATE_KEY, version))
        self._loaded = version
        self._tell_runner()
        return version

    def _tell_runner(self) -> None:
        """So that the next run finds its definitions loaded; it would load them itself else."""
        path = self._settings.runner_socket
        if path is None or not self._settings.warm_launcher:
            return
        try:
            ask_runner(path, {"reload": True})
        except OSError as error:
            logger.info("The warm runner was not told of the new graph: %s", error)

    def close(self) -> None:
        self._database.close()


def reload_location(settings: Settings, info: DefsStateInfo) -> None:
    """Have the code server rebuild from the stored states `info`, in the live process.

    Uses Dagster's own RPC (a second or less, touching only what changed); where that fails, the
    public GraphQL mutation, which starts a new process. Raises Unavailable when both fail.
    """
    client = DagsterGrpcClient(host=settings.code_location_host, port=settings.code_location_port)
    try:
        reply = client.reload_code_with_state(serialize_value(info), timeout=_RELOAD_SECONDS)
    except DagsterUserCodeUnreachableError as error:
        why = str(error)
    else:
        if not reply.serialized_error:
            return
        why = deserialize_value(reply.serialized_error, SerializableErrorInfo).message
    logger.warning("The code server did not take the new graph (%s); reloading it whole", why)
    _reload_whole(settings.dagster_base_url)


def _reload_whole(dagster_url: str) -> None:
    body = {"query": _RELOAD, "variables": {"name": LOCATION_NAME}}
    try:
        answer = httpx.post(f"{dagster_url}/graphql", json=body, timeout=_RELOAD_SECONDS)
        answer.raise_for_status()
        result = answer.json()["data"]["reloadRepositoryLocation"]
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        raise Unavailable(f"Dagster's webserver did not reload the graph: {error}") from error
    if result["__typename"] != "WorkspaceLocationEntry":
        raise Unavailable(f"Dagster refused to reload the graph: {result}")


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    stop = threading.Event()

    def on_signal(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    keeper = GraphKeeper(Settings())
    trouble = ""
    while not stop.wait(_EVERY_SECONDS):
        try:
            version = keeper.step()
        except PlatformError as error:
            if error.detail != trouble:  # said once, not every second
                logger.warning("%s", error.detail)
            trouble = error.detail
            continue
        trouble = ""
        if version is not None:
            logger.info("The graph follows the entity definitions: version %s", version)
    keeper.close()


if __name__ == "__main__":
    main()

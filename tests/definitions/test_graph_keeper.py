"""The graph keeper: publishes what changed, once, and goes on after an outage."""

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hubblewave_pipelines.core.definition import to_stored
from hubblewave_pipelines.core.errors import Unavailable
from hubblewave_pipelines.definitions import graph
from hubblewave_pipelines.definitions.defs_state import PgDefsStateStorage
from hubblewave_pipelines.definitions.entities import STATE_KEY
from hubblewave_pipelines.definitions.graph import GraphKeeper, reload_location
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage.database import Database, statement
from hubblewave_pipelines.storage.tenants import Tenant
from tests.definitions.scripted import entity


class CodeServer:
    """Stands for the code server: takes states, or is away."""

    def __init__(self) -> None:
        self.loaded: list[str | None] = []
        self.away = False

    def __call__(self, _settings: Settings, info: graph.DefsStateInfo) -> None:
        if self.away:
            raise Unavailable("the code server is away")
        self.loaded.append(info.get_version(STATE_KEY))


@pytest.fixture
def code_server(monkeypatch: pytest.MonkeyPatch) -> CodeServer:
    server = CodeServer()
    monkeypatch.setattr(graph, "reload_location", server)
    return server


@pytest.fixture
def keeper(database_url: str, tmp_path: Path, code_server: CodeServer) -> Iterator[GraphKeeper]:
    settings = Settings(database_url=database_url, data_dir=tmp_path)  # type: ignore[arg-type]
    opened = GraphKeeper(settings)
    yield opened
    opened.close()


def define(owner: Database, tenant: Tenant, slug: str, name: str) -> None:
    shown = entity(slug, name)
    with owner.transaction() as tx:
        tx.run(
            statement(
                "insert into hubblewave.entities (id, tenant_id, slug, name, definition)"
                " values (%s, %s, %s, %s, %s)",
                ((slug + "a" * 8)[:8], tenant.id, slug, name, json.dumps(to_stored(shown))),
            )
        )
        tx.run(statement("update hubblewave.tenants set catalog_version = catalog_version + 1"))


def test_a_changed_catalog_is_published_once(
    keeper: GraphKeeper, code_server: CodeServer, owner_database: Database, tenant: Tenant
) -> None:
    keeper.step()
    define(owner_database, tenant, "airports", "Airport")
    version = keeper.step()
    assert version is not None
    assert keeper.step() is None
    assert code_server.loaded[-1] == version
    assert len(code_server.loaded) == 2


def test_a_change_that_shows_nothing_new_is_not_published(
    keeper: GraphKeeper, owner_database: Database, tenant: Tenant
) -> None:
    keeper.step()
    with owner_database.transaction() as tx:
        tx.run(statement("update hubblewave.tenants set catalog_version = catalog_version + 1"))
    assert keeper.step() is None


def test_an_outage_of_the_code_server_only_delays_the_graph(
    keeper: GraphKeeper,
    code_server: CodeServer,
    owner_database: Database,
    tenant: Tenant,
    database_url: str,
) -> None:
    keeper.step()
    define(owner_database, tenant, "airports", "Airport")
    code_server.away = True
    for _ in range(2):
        with pytest.raises(Unavailable):
            keeper.step()
    code_server.away = False
    version = keeper.step()
    assert code_server.loaded[-1] == version
    assert PgDefsStateStorage(database_url).get_latest_version(STATE_KEY) == version


def test_a_database_that_is_down_is_said_so(tmp_path: Path, code_server: CodeServer) -> None:
    url = "postgresql://hubblewave@127.0.0.1:1/none"
    keeper = GraphKeeper(Settings(database_url=url, data_dir=tmp_path))  # type: ignore[arg-type]
    with pytest.raises(Unavailable):
        keeper.step()
    keeper.close()


class Webserver(http.server.BaseHTTPRequestHandler):
    """Answers the public reload mutation as told."""

    typename = "WorkspaceLocationEntry"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert asked["variables"] == {"name": "hubblewave"}
        answer = {"data": {"reloadRepositoryLocation": {"__typename": self.typename}}}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def webserver() -> Iterator[str]:
    with http.server.HTTPServer(("127.0.0.1", 0), Webserver) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_without_the_private_rpc_the_public_mutation_reloads(
    webserver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(code_location_port=1, dagster_url=webserver)
    info = graph.DefsStateInfo.add_version(None, STATE_KEY, "v1")
    reload_location(settings, info)
    monkeypatch.setattr(Webserver, "typename", "RepositoryLocationNotFound")
    with pytest.raises(Unavailable, match="refused"):
        reload_location(settings, info)

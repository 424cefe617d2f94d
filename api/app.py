"""The application: routers, middleware and what the process holds open while it serves."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.routing import WebSocketRoute

from api import (
    connector_asks,
    connectors,
    dead_letters,
    docs,
    downloads,
    entities,
    event_types,
    exports,
    health,
    import_events,
    imports,
    inbound,
    jobs,
    keys,
    preview,
    problems,
    records,
    rejects,
    reverts,
    sync_jobs,
    sync_runs,
    watches,
    webhook_deliveries,
    webhook_sending,
    webhooks,
)
from api.context import Platform
from api.dagster import DagsterClient
from api.gateway import PREFIX, Gateway
from api.graphql import endpoint
from api.graphql.engine import Engine
from api.limits import Limits
from api.subscriptions.hub import Hub
from api.subscriptions.socket import graphql_socket
from api.subscriptions.sockets import Sockets
from api.usage import Usage
from hubblewave_pipelines import __version__
from hubblewave_pipelines.core.log import configure_log
from hubblewave_pipelines.delivery.posting import open_session
from hubblewave_pipelines.delivery.transforms import TransformPool
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage.catalog import CatalogCache
from hubblewave_pipelines.storage.database import AsyncDatabase, Database, Role
from hubblewave_pipelines.storage.secret_keys import Secrets


def create_app(settings: Settings | None = None) -> FastAPI:
    """The ASGI application. Starts without a database and answers 503 until it has one.

    Raises Misconfigured when HUBBLEWAVE_DATABASE_URL is not set, the secret key is missing or the log
    level is unknown.
    """
    chosen = settings or Settings()
    url = chosen.require_database_url()
    configure_log(chosen.log_level)
    secrets = Secrets(chosen)
    _ = secrets.envelope  # what is wrong with the key is said now, not at the first cursor

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        database = AsyncDatabase(
            url,
            Role.APP,
            size=chosen.pool_size,
            statement_timeout=chosen.statement_timeout_seconds,
        )
        catalogs = CatalogCache()
        held = Platform(
            settings=chosen,
            database=database,
            owner=Database(url, Role.OWNER),
            catalogs=catalogs,
            dagster=DagsterClient(chosen),
            limits=Limits(chosen),
            usage=Usage(database),
            graphql=Engine(chosen),
            hub=Hub(database, catalogs),
            sockets=Sockets(database, chosen.websocket_connections_per_tenant),
            secrets=secrets,
            outbound=open_session(chosen.egress, connections=100),
            transforms=TransformPool(weak_isolation=chosen.transform_weak_isolation),
        )
        await held.database.open()
        await held.dagster.open()
        held.usage.start()
        held.hub.start()
        held.sockets.start()
        app.state.platform = held
        try:
            yield
        finally:
            await held.sockets.close()
            await held.hub.close()
            await held.outbound.close()
            await held.transforms.close()
            await held.dagster.close()
            await held.usage.close()
            await held.limits.close()
            held.owner.close()
            await held.database.close()

    app = FastAPI(
        title="HubbleWave",
        version=__version__,
        lifespan=lifespan,
        openapi_url=None,  # each tenant has its own document
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    problems.install(app)
    app.include_router(health.router)
    running = (imports, preview, import_events, rejects, reverts, watches, exports, downloads, jobs)
    hooks = (dead_letters, webhook_deliveries, webhook_sending, webhooks, event_types)
    systems = (connector_asks, connectors, sync_runs, sync_jobs, inbound)
    areas = (docs, entities, *running, keys, *hooks, *systems)
    fixed = [module.router for module in areas]
    for router in fixed:
        app.include_router(router, prefix=PREFIX)
    app.include_router(docs.pages)
    app.include_router(endpoint.router)
    app.router.routes.append(WebSocketRoute("/graphql", graphql_socket))
    app.state.documents = docs.Documents(fixed)
    # Whatever no fixed path claims: one handler for the records of all entities.
    app.router.default = records.application(PREFIX, app.state.documents.served.fixed)
    app.add_middleware(Gateway, settings=chosen)
    return app

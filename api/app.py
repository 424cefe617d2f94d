"""The application: routers, middleware and what the process holds open while it serves."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import structlog
from fastapi import FastAPI
from starlette.routing import WebSocketRoute

from api import (
    docs,
    downloads,
    entities,
    exports,
    health,
    import_events,
    imports,
    jobs,
    keys,
    problems,
    records,
    rejects,
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
from hubblewave_pipelines.core.errors import Misconfigured
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage.catalog import CatalogCache
from hubblewave_pipelines.storage.database import AsyncDatabase, Database, Role


def _encoded(event: object, **_: object) -> bytes:
    return msgspec.json.encode(event, enc_hook=repr)


def configure_log(level: str) -> None:
    """One JSON object per line on standard output. Raises Misconfigured for an unknown level."""
    levels = logging.getLevelNamesMapping()
    if level not in levels:
        raise Misconfigured(
            f"HUBBLEWAVE_LOG_LEVEL is {level}; use one of DEBUG, INFO, WARNING, ERROR."
        )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            structlog.processors.dict_tracebacks,
            structlog.processors.JSONRenderer(serializer=_encoded),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(levels[level]),
        logger_factory=structlog.BytesLoggerFactory(),
        cache_logger_on_first_use=True,
    )


def create_app(settings: Settings | None = None) -> FastAPI:
    """The ASGI application. Starts without a database and answers 503 until it has one.

    Raises Misconfigured when HUBBLEWAVE_DATABASE_URL is not set or the log level is unknown.
    """
    chosen = settings or Settings()
    url = chosen.require_database_url()
    configure_log(chosen.log_level)

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
    areas = (docs, entities, imports, import_events, rejects, exports, downloads, jobs, keys)
    fixed = [module.router for module in areas]
    for router in fixed:
        app.include_router(router, prefix=PREFIX)
    app.include_router(docs.pages)
    app.include_router(endpoint.router)
    app.router.routes.append(WebSocketRoute("/graphql", graphql_socket))
    app.state.documents = docs.Documents(fixed)
    # Whatever no fixed path claims: one handler for the records of all entities.
    app.router.default = records.application(PREFIX)
    app.add_middleware(Gateway, settings=chosen)
    return app

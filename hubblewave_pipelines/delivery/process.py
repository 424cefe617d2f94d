"""The worker's process: opens what it needs, answers signals, closes in order."""

import asyncio
import gc
import signal
from collections.abc import Callable

from hubblewave_pipelines.delivery import metrics
from hubblewave_pipelines.delivery.posting import open_session
from hubblewave_pipelines.delivery.transforms import TransformPool
from hubblewave_pipelines.delivery.worker import Worker
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage.database import AsyncDatabase, Role

_CONNECTIONS = 8
_IDLE_SECONDS = (
    10  # of silence in a transaction, from a worker that stands still: others wait for it
)


def run(settings: Settings, *, said: Callable[[str], None]) -> None:
    """Work until SIGTERM or SIGINT, then drain. Raises Misconfigured without a database URL."""
    asyncio.run(_run(settings, said))


async def _run(settings: Settings, said: Callable[[str], None]) -> None:
    url = settings.require_database_url()
    database = AsyncDatabase(url, Role.WORKER, size=_CONNECTIONS, idle_timeout=_IDLE_SECONDS)
    await database.open()
    transforms = TransformPool(weak_isolation=settings.transform_weak_isolation)
    session = open_session(settings.egress, connections=settings.webhook_concurrency * 2)
    shown = await metrics.serve(settings.worker_host, settings.worker_port)
    try:
        worker = Worker(settings, database, session, transforms)
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, worker.stop)
        host, port = shown.addresses[0][:2]
        # Everything imported stays; without this the collector walks it over and over again.
        gc.collect()
        gc.freeze()
        said(f"delivery worker {worker.name}; metrics at http://{host}:{port}/metrics")
        await worker.run()
    finally:
        await shown.cleanup()
        await session.close()
        await transforms.close()
        await database.close()

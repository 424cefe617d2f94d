"""A delivery worker for tests: in a thread of this process, or as the real process that may be killed."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from hubblewave_pipelines.delivery.posting import open_session
from hubblewave_pipelines.delivery.transforms import TransformPool
from hubblewave_pipelines.delivery.worker import Worker
from hubblewave_pipelines.outbound.looking_up import Lookup, system_lookup
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage.database import AsyncDatabase, Role

ALLOW = "127.0.0.1/32:*"


@contextmanager
def working(settings: Settings, *, lookup: Lookup = system_lookup) -> Iterator[Worker]:
    """A worker on a thread and loop of its own; stopped and drained at the end."""
    started, failures = threading.Event(), list[BaseException]()
    made: list[tuple[Worker, asyncio.AbstractEventLoop]] = []

    async def run() -> None:
        database = AsyncDatabase(settings.require_database_url(), Role.WORKER, size=6)
        await database.open()
        transforms = TransformPool(weak_isolation=settings.transform_weak_isolation)
        session = open_session(settings.egress, lookup=lookup)
        worker = Worker(settings, database, session, transforms)
        made.append((worker, asyncio.get_running_loop()))
        started.set()
        try:
            await worker.run()
        finally:
            await session.close()
            await transforms.close()
            await database.close()

    def main() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:  # noqa: BLE001 - handed to the test below
            failures.append(error)
            started.set()

    thread = threading.Thread(target=main, daemon=True)
    thread.start()
    assert started.wait(20)
    try:
        yield made[0][0]
    finally:
        worker, loop = made[0]
        if thread.is_alive():
            loop.call_soon_threadsafe(worker.stop)
        thread.join(60)
        assert not thread.is_alive(), "the worker did not stop"
        if failures:
            raise failures[0]


class WorkerProcess:
    """`hubblewave worker`, configured by environment."""

    def __init__(self, settings: Settings, log: Path, **more: Any) -> None:
        given = {
            "database_url": settings.require_database_url(),
            "data_dir": str(settings.data_dir),
            "secret_key": settings.secret_key.get_secret_value() if settings.secret_key else "",
            "egress_allow": settings.egress_allow,
            "webhook_lease_seconds": str(settings.webhook_lease_seconds),
            **{name: str(value) for name, value in more.items()},
        }
        self._environment = {f"HUBBLEWAVE_{name.upper()}": text for name, text in given.items()}
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "hubblewave_pipelines", "worker"],
                env={"PATH": os.defpath, **self._environment},
                stdout=out,
                stderr=out,
                cwd=Path(__file__).parents[2],
            )
        return self

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "call start first"
        return self._process

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(30)

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(60)

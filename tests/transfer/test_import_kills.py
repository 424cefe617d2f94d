"""kill -9 of a real process in the middle of an import, again and again: it ends as a clean one."""

import multiprocessing
import os
import random
import signal
import time
import uuid
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from typing import Any

import pytest

from hubblewave_pipelines.core.errors import ImportFailed
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage import imports
from hubblewave_pipelines.storage.database import Database, Role
from hubblewave_pipelines.transfer.imports import run_import
from tests.transfer.conftest import Importing

ITEM = {
    "name": "Item",
    "pluralName": "Items",
    "fields": [
        {"name": "code", "type": "text", "required": True, "unique": True},
        {"name": "mail", "type": "email", "unique": True},
        {"name": "stock", "type": "integer"},
        {"name": "price", "type": "decimal"},
    ],
}
ROWS = 4_500
CHUNK = 150
KILLS = 5


def rough(rng: random.Random) -> str:
    """Codes that come again, wrong numbers, taken addresses, rows of a wrong width."""
    lines = ["code,mail,stock,price"]
    for number in range(ROWS):
        code = f"c{rng.randrange(ROWS)}"
        mail = f"m{rng.randrange(ROWS)}@example.org" if rng.random() < 0.3 else ""
        stock = "many" if rng.random() < 0.02 else str(rng.randrange(5))
        extra = ",x" if rng.random() < 0.01 else ""
        lines.append(f"{code},{mail},{stock},{number / 100}{extra}")
    return "\n".join(lines) + "\n"


def smooth(rng: random.Random) -> str:
    """Nothing to refuse, so that an import which must not refuse anything succeeds."""
    rows = [f"c{rng.randrange(ROWS)},{number}" for number in range(ROWS)]
    return "\n".join(["code,price", *rows]) + "\n"


def child(url: str, tenant_id: uuid.UUID, import_id: uuid.UUID) -> None:
    """What the process of a run does."""
    try:
        run_import(
            Database(url, Role.WORKER),
            Settings.model_validate({"import_chunk_rows": CHUNK}),
            tenant_id,
            import_id,
            run_id=f"run-{os.getpid()}",
            still_held=lambda: None,
            progress=lambda _: None,
        )
    except ImportFailed:
        return  # settled; the parent reads how


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """Starts children from a process that has loaded the engine, as the warm runner does."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["hubblewave_pipelines.transfer.imports"])
    return context


def state(importing: Importing, job: uuid.UUID) -> dict[str, Any]:
    found = importing.job(job)
    names = ("status", "total", "created", "updated", "unchanged", "skipped", "failed")
    records = importing.records("Item", version=True)
    return {
        **{name: getattr(found, name) for name in names},
        "refused": [(r.row, r.field, r.code) for r in importing.refused(job)],
        "records": sorted(
            (r["code"], r["mail"], r["stock"], r["price"], r["version"]) for r in records
        ),
    }


def wait_for_first_chunk(importing: Importing, job: uuid.UUID, before: int) -> None:
    """So that the moment of death does not depend on how long a process takes to start."""
    until = time.monotonic() + 60
    while (found := importing.job(job)).bytes_done == before and found.status in imports.OPEN:
        assert time.monotonic() < until, "the import does not move"
        time.sleep(0.002)


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (rough, {"duplicateStrategy": "update"}),
        (rough, {"duplicateStrategy": "error"}),
        (smooth, {"duplicateStrategy": "merge", "onError": "abort"}),
    ],
    ids=["update", "error", "merge-abort"],
)
def test_an_import_killed_at_random_moments_ends_as_a_clean_one(
    importing: Importing,
    processes: ForkServerContext,
    make: Callable[[random.Random], str],
    options: dict[str, Any],
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201 - shown when the test fails
    rng = random.Random(seed)
    content, options = make(rng), {"uniqueFields": ["code"], **options}
    importing.define(ITEM)
    begun = time.monotonic()
    clean = importing.upload("Item", content, **options)
    importing.run(clean, chunk_rows=CHUNK)
    span = time.monotonic() - begun
    expected = state(importing, clean)
    importing.empty()

    job = importing.upload("Item", content, **options)
    arguments = (importing.worker.url, importing.tenant.id, job)
    killed = 0
    for _ in range(KILLS):
        before = importing.job(job).bytes_done
        process = processes.Process(target=child, args=arguments)
        process.start()
        wait_for_first_chunk(importing, job, before)
        # Short enough that much is left to do after the last kill.
        time.sleep(rng.uniform(0, span / KILLS / 2))
        process.kill()
        process.join()
        killed += process.exitcode == -signal.SIGKILL
    assert killed, "no kill met a living process"
    last = processes.Process(target=child, args=arguments)
    last.start()
    last.join()
    assert last.exitcode == 0
    assert state(importing, job) == expected

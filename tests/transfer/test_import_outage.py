"""PostgreSQL goes away in the middle of an import: the attempt says so, the next one goes on."""

import os
import random
import signal
import threading
import time

import pytest

from hubblewave_pipelines.core.errors import Recovery, Unavailable
from hubblewave_pipelines.supervisor.postgres import EmbeddedPostgres
from hubblewave_pipelines.transfer.imports import ImportProgress
from tests.transfer.conftest import Importing

ITEM = {
    "name": "Item",
    "pluralName": "Items",
    "fields": [
        {"name": "code", "type": "text", "unique": True},
        {"name": "stock", "type": "integer"},
    ],
}
OPTIONS = {"uniqueFields": ["code"], "duplicateStrategy": "update"}
ROWS, CHUNK = 4_000, 100


@pytest.fixture
def database_url(own_server: EmbeddedPostgres) -> str:
    return own_server.url("hubblewave")


def content() -> str:
    rows = [f"c{n % 3_500},{'x' if n % 97 == 0 else n}" for n in range(ROWS)]
    return "\n".join(["code,stock", *rows]) + "\n"


def crash(postgres: EmbeddedPostgres) -> None:
    """Immediate shutdown: every connection breaks, nothing is written down first."""
    assert postgres.pid is not None
    os.kill(postgres.pid, signal.SIGQUIT)
    until = time.monotonic() + 60
    while postgres.alive():
        assert time.monotonic() < until, "the server did not stop"
        time.sleep(0.01)


@pytest.mark.parametrize("moment", ["before a commit", "in a merge"])
@pytest.mark.parametrize("on_error", ["continue", "abort"])
def test_an_import_whose_database_crashes_goes_on_when_it_is_back(
    importing: Importing, own_server: EmbeddedPostgres, moment: str, on_error: str
) -> None:
    importing.define(ITEM)
    text = content() if on_error == "continue" else content().replace(",x\n", ",0\n")
    clean = importing.run(importing.upload("Item", text, **OPTIONS), chunk_rows=CHUNK)
    expected = importing.records("Item")
    importing.empty()
    job = importing.upload("Item", text, onError=on_error, **OPTIONS)
    crashed: list[threading.Thread] = []
    chunks = 0

    def at_commit() -> None:
        if moment == "before a commit" and (chunks == 5 or on_error == "abort") and not crashed:
            crashed.append(threading.current_thread())
            crash(own_server)

    def in_merge(_: ImportProgress) -> None:
        nonlocal chunks
        chunks += 1
        if moment == "in a merge" and chunks == 5:
            crashed.append(threading.Timer(random.uniform(0, 0.03), crash, [own_server]))
            crashed[0].start()

    with pytest.raises(Unavailable) as refused:
        importing.run(job, chunk_rows=CHUNK, still_held=at_commit, progress=in_merge)
    assert refused.value.recovery is Recovery.RETRY
    if crashed[0] is not threading.current_thread():
        crashed[0].join()
    own_server.start()
    outcome = importing.run(job, chunk_rows=CHUNK)
    counts = ("total", "created", "updated", "unchanged", "skipped", "failed", "status")
    assert {n: getattr(outcome, n) for n in counts} == {n: getattr(clean, n) for n in counts}
    assert importing.records("Item") == expected

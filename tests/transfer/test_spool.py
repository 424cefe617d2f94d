"""Uploaded files go when no import can need them, and not before."""

import os
import time
import uuid
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from hubblewave_pipelines.storage.database import Database, statement
from hubblewave_pipelines.storage.tenants import Tenant
from hubblewave_pipelines.transfer.spool import Cleared, clear_spool
from tests.transfer.conftest import Importing

NOTE = {"name": "Note", "pluralName": "Notes", "fields": [{"name": "text", "type": "text"}]}
WEEK = timedelta(days=7)
DAYS = 24 * 3600


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    path = tmp_path / "spool"
    path.mkdir()
    return path


def spooled(spool: Path, *, days_old: float = 30, ending: str = "upload") -> Path:
    path = spool / f"{uuid.uuid4().hex}.{ending}"
    path.write_text("text\nhello\n")
    at = time.time() - days_old * DAYS
    os.utime(path, (at, at))
    return path


def job(importing: Importing, spool: Path, status: str, *, ended: int | None = None) -> Path:
    """The file of an import with this status that ended so many days ago."""
    path = spooled(spool)
    job_id = importing.upload("Note", path)
    with importing.owner.transaction() as tx:
        tx.run(
            statement(
                "update hubblewave.import_jobs set status = %s,"
                " completed_at = now() - make_interval(days => %s) where id = %s",
                (status, ended, job_id),
            )
        )
    return path


def left(spool: Path) -> set[Path]:
    return set(spool.iterdir())


def test_only_files_that_no_import_can_need_are_removed(
    importing: Importing, spool: Path, other_tenant: Tenant
) -> None:
    importing.define(NOTE)
    theirs = Importing(importing.owner, importing.worker, other_tenant, importing.directory)
    theirs.define(NOTE)
    gone = {
        job(importing, spool, "completed", ended=8),
        job(importing, spool, "partial", ended=100),
        job(theirs, spool, "failed", ended=8),
        spooled(spool, days_old=1.1),
        spooled(spool, days_old=1.1, ending="partial"),
    }
    kept = {
        job(importing, spool, "pending"),
        job(importing, spool, "processing"),
        job(importing, spool, "failed", ended=6),
        job(theirs, spool, "cancelled", ended=1),
        job(theirs, spool, "processing"),
        spooled(spool, days_old=0.9),
        spooled(spool, days_old=0, ending="partial"),
    }
    stranger = spool / "holiday.csv"  # somebody else's file in the same directory
    stranger.write_text("x")
    os.utime(stranger, (0, 0))
    assert left(spool) == gone | kept | {stranger}
    cleared = clear_spool(importing.worker, spool, keep=WEEK)
    assert (cleared.spent, cleared.unknown, cleared.size) == (3, 2, 5 * len("text\nhello\n"))
    assert left(spool) == kept | {stranger}
    assert clear_spool(importing.worker, spool, keep=WEEK) == Cleared()


def test_a_spool_that_nobody_has_used_yet_is_no_fault(
    worker_database: Database, tmp_path: Path
) -> None:
    assert clear_spool(worker_database, tmp_path / "none", keep=WEEK) == Cleared()


def test_an_import_that_is_retried_at_this_moment_keeps_its_file(
    importing: Importing, spool: Path
) -> None:
    importing.define(NOTE)
    path = job(importing, spool, "failed", ended=8)
    impatient = Database(importing.worker.url, importing.worker.role, size=1)
    try:
        with impatient.transaction() as tx:
            tx.run(statement("set lock_timeout = '100ms'"))
        with importing.owner.transaction() as tx:
            tx.run(statement("update hubblewave.import_jobs set status = 'pending'"))
            with pytest.raises(psycopg.errors.LockNotAvailable):
                clear_spool(impatient, spool, keep=WEEK)
    finally:
        impatient.close()
    assert clear_spool(importing.worker, spool, keep=WEEK) == Cleared()
    assert path.exists()

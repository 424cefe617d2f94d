"""Buckets as destinations and as places to watch: s3fs and a real S3-compatible server over a socket."""

import hashlib
import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import fsspec
import pytest
from pydantic import ValidationError

from hubblewave_pipelines.core.errors import ExportFailed, Unavailable
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage import imports, watches
from hubblewave_pipelines.storage.watches import Watch
from hubblewave_pipelines.transfer.watching import scan
from tests.transfer.conftest import Exporting, Importing

SECRET = "wJalrXUtnFEMI-not-to-be-told"
ITEM = {
    "name": "Item",
    "pluralName": "Items",
    "fields": [
        {"name": "code", "type": "text", "required": True, "unique": True},
        {"name": "stock", "type": "integer"},
    ],
}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    command = [sys.executable, "-m", "tests.transfer.s3_server"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url.startswith("http://"), "the server did not start"
        yield url
        process.stdin.close()
        process.wait(30)


class Bucket:
    """A bucket of one test, and settings that allow the tenant a folder of it."""

    def __init__(self, endpoint: str, data_dir: Path) -> None:
        self.name = f"b{uuid.uuid4().hex[:12]}"
        self.options = {"key": "AKIATEST", "secret": SECRET, "endpoint_url": endpoint}
        self.files: Any = fsspec.filesystem("s3", **self.options, use_listings_cache=False)
        self.files.mkdir(self.name)
        self.data_dir = data_dir
        self.settings = self.with_options(self.options)

    def with_options(self, options: dict[str, str]) -> Settings:
        given = {"file_locations": [f"s3://{self.name}/{{tenant}}/"], "data_dir": self.data_dir}
        return Settings.model_validate({**given, "storage_options": json.dumps({"s3": options})})


@pytest.fixture
def bucket(endpoint: str, tmp_path: Path) -> Bucket:
    return Bucket(endpoint, tmp_path / "data")


def test_an_export_is_put_into_a_bucket_with_its_manifest(
    exporting: Exporting, bucket: Bucket
) -> None:
    exporting.importing.define(ITEM)
    exporting.importing.load("Item", "code,stock\nA,1\nB,2\n")
    exporting.settings = bucket.settings
    folder = f"s3://{bucket.name}/{exporting.tenant.slug}/nightly/"
    asked = {"fields": ["code", "stock"], "sort": "code", "options": {"fileName": "items"}}
    for _ in range(2):  # the second takes the place of the first
        job = exporting.ask("Item", destination=folder, **asked)
        outcome = exporting.run(job)
        assert outcome.delivered_to == f"{folder}items.csv"
        data = bucket.files.cat_file(f"{folder}items.csv")
        assert data == b'code,stock\n"A",1\n"B",2\n'
        assert outcome.sha256 == hashlib.sha256(data).hexdigest()
        manifest = json.loads(bucket.files.cat_file(f"{folder}items.csv.manifest.json"))
        assert manifest == exporting.job(job.id).manifest
    listed = [path.rpartition("/")[2] for path in bucket.files.ls(folder)]
    assert sorted(listed) == ["items.csv", "items.csv.manifest.json"]
    assert SECRET not in repr(exporting.job(job.id))


def test_a_bucket_that_cannot_be_written_to_leaves_no_promise_and_tells_no_secret(
    exporting: Exporting, bucket: Bucket, endpoint: str
) -> None:
    exporting.importing.define(ITEM)
    folder = f"s3://{bucket.name}/{exporting.tenant.slug}/"
    nobody = {**bucket.options, "endpoint_url": "http://127.0.0.1:9"}
    bucket.files.rm(bucket.name, recursive=True)  # no bucket is made where there is none
    for options, kind in ((bucket.options, Unavailable), (nobody, Unavailable)):
        exporting.settings = bucket.with_options(options)
        job = exporting.ask("Item", destination=folder)
        with pytest.raises(kind) as refused:
            exporting.run(job)
        assert folder in str(refused.value)
        assert SECRET not in str(refused.value)
        assert exporting.on_disk() == []
        assert exporting.job(job.id).status == "processing"  # a run tries it again
    assert not bucket.files.exists(bucket.name)
    exporting.settings = exporting.settings.model_copy(update={"file_locations": ["nfs4://x/"]})
    with pytest.raises(ExportFailed, match="nfs4"):
        exporting.run(exporting.ask("Item", destination="nfs4://x/a.csv"))


def watching(importing: Importing, url: str) -> Watch:
    entity = importing.define(ITEM).named("Item")
    assert entity is not None
    with importing.worker.transaction(importing.tenant.id) as tx:
        made = tx.one(
            watches.insert_watch(
                importing.tenant.id,
                entity_id=entity.id,
                entity_name="Item",
                url=url,
                pattern="*.csv",
                mapping=None,
                options={"uniqueFields": ["code"], "duplicateStrategy": "update"},
                created_by=None,
            )
        )
    assert made is not None
    return made


def test_what_arrives_in_a_bucket_is_imported_once_for_each_version(
    importing: Importing, bucket: Bucket
) -> None:
    folder = f"s3://{bucket.name}/{importing.tenant.slug}/in/"
    watch = watching(importing, folder)

    def look() -> int:
        return scan(importing.worker, bucket.settings, unchanged=timedelta())

    def stocks() -> dict[str, int]:
        with importing.worker.transaction(importing.tenant.id) as tx:
            jobs = tx.all(imports.jobs_of(importing.tenant.id, limit=9))
        for job in reversed(jobs):
            if job.status == "pending":
                assert importing.run(job.id).status == "completed"
        return {row["code"]: row["stock"] for row in importing.records("Item")}

    bucket.files.pipe_file(folder.rstrip("/") + "/", b"")  # the marker that consoles make
    assert look() == 0
    bucket.files.pipe_file(f"{folder}a.csv", b"code,stock\nA,1\n")
    bucket.files.pipe_file(f"{folder}b.txt", b"code,stock\nB,1\n")
    bucket.files.pipe_file(f"{folder}deep/c.csv", b"code,stock\nC,1\n")
    assert [look(), look()] == [1, 0]
    assert stocks() == {"A": 1}
    bucket.files.pipe_file(f"{folder}a.csv", b"code,stock\nA,2\n")
    assert [look(), look()] == [1, 0]
    assert stocks() == {"A": 2}
    bucket.files.rm(bucket.name, recursive=True)
    assert look() == 0
    with importing.worker.transaction(importing.tenant.id) as tx:
        told = tx.one(watches.watch_by_id(importing.tenant.id, watch.id))
    assert told is not None
    assert folder.rstrip("/") in (told.last_error or "")
    assert SECRET not in (told.last_error or "")


def test_storage_options_are_objects_by_protocol_and_not_repeated() -> None:
    for wrong in (f'{{"s3": "{SECRET}"}}', SECRET, f'["{SECRET}"]'):
        with pytest.raises(ValidationError) as refused:
            Settings.model_validate({"storage_options": wrong})
        assert "HUBBLEWAVE_STORAGE_OPTIONS" in str(refused.value)
        assert SECRET not in str(refused.value)
    with pytest.raises(ValidationError, match="is a URL"):
        Settings.model_validate({"spool_dir": "s3://bucket/spool"})
    held = Settings.model_validate({"storage_options": f'{{"s3": {{"secret": "{SECRET}"}}}}'})
    assert SECRET not in repr(held)
    assert held.options_of("s3") == {"secret": SECRET}
    assert held.options_of("gs") == {}

"""Watched directories: what arrives is imported once, what is being written is left alone."""

import os
import uuid
from datetime import timedelta
from pathlib import Path

import pytest

from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage import imports, watches, work
from hubblewave_pipelines.storage.imports import ImportJob
from hubblewave_pipelines.storage.watches import Watch, WatchedFile
from hubblewave_pipelines.transfer.watching import scan
from tests.transfer.conftest import Importing

ITEM = {
    "name": "Item",
    "pluralName": "Items",
    "fields": [
        {"name": "code", "type": "text", "required": True, "unique": True},
        {"name": "stock", "type": "integer"},
    ],
}
NOW = timedelta()


class Inbox:
    """A watched folder of one tenant."""

    def __init__(self, importing: Importing, folder: Path) -> None:
        self.importing = importing
        self.folder = folder
        folder.mkdir(parents=True)
        place = f"file://{folder.parent}/"
        self.settings = Settings.model_validate(
            {"data_dir": folder.parent / "data", "file_locations": [place]}
        )
        entity = importing.define(ITEM).named("Item")
        assert entity is not None
        with importing.worker.transaction(importing.tenant.id) as tx:
            made = tx.one(
                watches.insert_watch(
                    importing.tenant.id,
                    entity_id=entity.id,
                    entity_name="Item",
                    url=f"file://{folder}/",
                    pattern="*.csv",
                    mapping=None,
                    options={"uniqueFields": ["code"], "duplicateStrategy": "update"},
                    created_by=uuid.uuid4(),
                )
            )
        assert made is not None
        self.watch: Watch = made

    def put(self, name: str, text: str, *, age: float = 60) -> None:
        path = self.folder / name
        path.write_text(text)
        stamp = path.stat().st_mtime - age
        os.utime(path, (stamp, stamp))

    def scan(self, unchanged: timedelta = NOW) -> int:
        return scan(self.importing.worker, self.settings, unchanged=unchanged)

    def jobs(self) -> list[ImportJob]:
        with self.importing.worker.transaction(self.importing.tenant.id) as tx:
            return tx.all(imports.jobs_of(self.importing.tenant.id, limit=100))

    def files(self) -> dict[str, WatchedFile]:
        with self.importing.worker.transaction(self.importing.tenant.id) as tx:
            found = tx.all(watches.files_of(self.importing.tenant.id, self.watch.id, limit=100))
        return {Path(file.path).name: file for file in found}

    def error(self) -> str | None:
        with self.importing.worker.transaction(self.importing.tenant.id) as tx:
            found = tx.one(watches.watch_by_id(self.importing.tenant.id, self.watch.id))
        assert found is not None
        return found.last_error


@pytest.fixture
def inbox(importing: Importing, tmp_path: Path) -> Inbox:
    return Inbox(importing, tmp_path / "in")


def test_a_file_that_arrives_is_imported_once(inbox: Inbox) -> None:
    inbox.put("a.csv", "code,stock\nA,1\n")
    inbox.put("b.txt", "not matched")
    inbox.put(".hidden.csv", "code\nX\n")
    inbox.put("c.csv.part", "code\nX\n")
    (inbox.folder / "sub.csv").mkdir()
    assert inbox.scan() == 1
    assert [inbox.scan() for _ in range(3)] == [0, 0, 0]
    [job] = inbox.jobs()
    assert (job.file_name, job.status) == ("a.csv", "pending")
    with inbox.importing.worker.transaction() as tx:
        [request] = tx.all(work.requests_of(inbox.importing.tenant.id, job.id))
    assert request.asset_key == ("import", "default", "items")
    assert inbox.importing.run(job.id).created == 1
    assert inbox.files()["a.csv"].import_id == job.id
    (inbox.folder / "a.csv").unlink()
    assert inbox.scan() == 0


def test_a_file_that_is_being_written_is_left_alone(inbox: Inbox) -> None:
    inbox.put("a.csv", "code,stock\nA,1\n")
    hour = timedelta(hours=1)
    assert inbox.scan(hour) == 0
    inbox.put("a.csv", "code,stock\nA,1\nB,2\n", age=30)
    assert inbox.scan(hour) == 0  # another version: its time begins anew
    assert inbox.jobs() == []
    assert inbox.scan() == 1
    [job] = inbox.jobs()
    assert job.file_size == len("code,stock\nA,1\nB,2\n")
    inbox.put("a.csv", "code,stock\nA,7\n", age=10)
    assert inbox.scan() == 1  # a new version of a file that was imported is another file
    assert len(inbox.jobs()) == 2


def test_a_file_that_cannot_be_imported_is_told_and_not_tried_again(inbox: Inbox) -> None:
    inbox.put("bad.csv", "nothing,here\n1,2\n")
    inbox.put("good.csv", "code\nG\n")
    assert inbox.scan() == 1
    assert inbox.scan() == 0
    bad = inbox.files()["bad.csv"]
    assert bad.import_id is None
    assert bad.error
    left = [path.name for path in inbox.settings.spool.glob("*.upload")]
    assert len(left) == 1  # the good one's


def test_a_folder_that_is_gone_or_not_allowed_any_more_is_told(inbox: Inbox) -> None:
    inbox.put("a.csv", "code\nA\n")
    inbox.settings = inbox.settings.model_copy(update={"file_locations": ["file:///nowhere/"]})
    assert inbox.scan() == 0
    assert "HUBBLEWAVE_FILE_LOCATIONS" in (inbox.error() or "")
    assert inbox.jobs() == []
    place = f"file://{inbox.folder.parent}/"
    inbox.settings = inbox.settings.model_copy(update={"file_locations": [place]})
    (inbox.folder / "a.csv").unlink()
    inbox.folder.rmdir()
    assert inbox.scan() == 0
    assert "cannot be reached" in (inbox.error() or "")


def test_two_scans_at_once_import_once(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    from hubblewave_pipelines.transfer import watching

    inbox.put("a.csv", "code\nA\n")
    checked = watching._Scan._checked
    nested: list[int] = []

    def meanwhile(self: watching._Scan, *given: object) -> object:
        if not nested:
            nested.append(0)
            nested[0] = inbox.scan()
        return checked(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(watching._Scan, "_checked", meanwhile)
    assert (inbox.scan(), nested) == (0, [1])
    assert len(inbox.jobs()) == 1

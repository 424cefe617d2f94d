"""What an import leaves in the history and in the change feed of its records."""

import json
import uuid
from typing import TYPE_CHECKING

from hubblewave_pipelines.core.feed import START, Feed, Place
from hubblewave_pipelines.core.query import columns_of
from hubblewave_pipelines.core.versions import page_of_events
from hubblewave_pipelines.storage.changes import Changes, select_changes
from hubblewave_pipelines.storage.database import statement
from hubblewave_pipelines.storage.history import select_versions
from hubblewave_pipelines.storage.history_table import history_table

if TYPE_CHECKING:
    from tests.transfer.conftest import Importing

PART = {
    "name": "Part",
    "pluralName": "Parts",
    "fields": [
        {"name": "code", "type": "text", "required": True, "unique": True},
        {"name": "name", "type": "text"},
    ],
}
UPDATE = {"detectDuplicates": True, "uniqueFields": ["code"], "duplicateStrategy": "update"}


def content(names: dict[int, str]) -> str:
    return "code,name\n" + "".join(f"p{n},{name}\n" for n, name in names.items())


def page(importing: "Importing", since: Place) -> Changes:
    part = importing.entity("Part")
    with importing.worker.transaction(importing.tenant.id) as tx:
        found = tx.one(select_changes(Feed(part, columns_of(part), since, 1000, 0)))
    assert found is not None
    return found


def kept(importing: "Importing") -> int:
    with importing.worker.transaction(importing.tenant.id) as tx:
        row = tx.one(statement(f"select count(*) from {history_table(importing.entity('Part'))}"))
    assert row is not None
    return int(row[0])


def test_new_records_are_written_once_and_are_in_the_feed(importing: "Importing") -> None:
    importing.define(PART)
    importing.load("Part", content({n: "a" for n in range(50)}), chunk_rows=20)
    assert kept(importing) == 0
    found = page(importing, START)
    assert [item["kind"] for item in json.loads(found.items)] == ["created"] * 50


def test_updated_records_keep_their_old_version_under_the_import_that_replaced_it(
    importing: "Importing",
) -> None:
    importing.define(PART)
    first = importing.upload("Part", content({n: "a" for n in range(50)}), **UPDATE)
    importing.run(first)
    since = page(importing, START).next
    # Three values differ, the other rows are as they are.
    names = {n: ("b" if n in (3, 20, 41) else "a") for n in range(50)}
    second = importing.upload("Part", content(names), **UPDATE)
    outcome = importing.run(second, chunk_rows=20)
    assert (outcome.updated, outcome.unchanged) == (3, 47)
    assert kept(importing) == 3
    changed = json.loads(page(importing, since).items)
    assert {item["record"]["code"] for item in changed} == {"p3", "p20", "p41"}
    assert {item["kind"] for item in changed} == {"updated"}
    part = importing.entity("Part")
    with importing.worker.transaction(importing.tenant.id) as tx:
        read = select_versions(part, uuid.UUID(changed[0]["id"]), before=None, size=10)
        versions = tx.one(read)
    assert versions is not None
    events = page_of_events(versions, before=None, size=10).items
    assert [(e.kind, e.version) for e in events] == [("updated", 2), ("created", 1)]
    assert [json.loads(bytes(e.by))["id"] for e in events] == [str(second), str(first)]
    assert json.loads(bytes(events[0].by)) | {"type": "import", "name": "upload.csv"} == json.loads(
        bytes(events[0].by)
    )

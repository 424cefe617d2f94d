"""What an import says to webhooks: each record where one wants them, a summary, or nothing."""

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from hubblewave_pipelines.core.errors import ImportFailed
from hubblewave_pipelines.core.event_types import FIXED
from hubblewave_pipelines.storage import capture
from hubblewave_pipelines.storage.database import statement

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
FIRST, SECOND = "code,name\na,1\nb,2\n,3\n", "code,name\na,1\nb,9\nc,4\n"


def said(importing: "Importing") -> list[tuple[str, str | None]]:
    with importing.owner.transaction() as tx:
        return tx.all(statement("select type, data from hubblewave.events order by n"))


def subscribe(importing: "Importing") -> None:
    tenant = importing.tenant
    capture.capture(importing.owner, tenant.id, ["part.*"])
    with importing.owner.transaction() as tx:
        text = (
            "insert into hubblewave.webhooks (tenant_id, name, url, events)"
            " values (%s, 'n', 'https://example.com', '{part.*}')"
        )
        tx.run(statement(text, (tenant.id,)))


@pytest.mark.parametrize(
    ("option", "records", "summaries"),
    [(None, 4, 2), ("auto", 4, 2), ("each", 4, 2), ("summary", 0, 2), ("none", 0, 0)],
)
def test_an_import_emits_what_its_option_says(
    importing: "Importing", option: str | None, records: int, summaries: int
) -> None:
    importing.define(PART)
    subscribe(importing)
    more: dict[str, Any] = {} if option is None else {"emitEvents": option}
    importing.run(importing.upload("Part", FIRST, **UPDATE, **more), chunk_rows=2)
    importing.run(importing.upload("Part", SECOND, **UPDATE, **more))
    kinds = Counter(kind for kind, _ in said(importing))
    assert kinds["part.created"] + kinds["part.updated"] == records
    assert kinds["part.updated"] == (1 if records else 0)
    assert kinds["import.completed"] == summaries


def test_without_a_webhook_there_is_the_summary_alone_in_the_form_of_the_catalogue(
    importing: "Importing",
) -> None:
    importing.define(PART)
    importing.run(importing.upload("Part", FIRST))
    ((kind, data),) = said(importing)
    assert kind == "import.completed"
    summary = json.loads(data or "")
    assert summary.keys() == next(e for e in FIXED if e.name == kind).example.keys()
    assert (summary["status"], summary["createdRecords"], summary["failedRecords"]) == (
        "partial",
        2,
        1,
    )


def test_an_import_that_leaves_nothing_behind_says_so_and_nothing_of_records(
    importing: "Importing",
) -> None:
    importing.define(PART)
    subscribe(importing)
    with pytest.raises(ImportFailed):
        importing.run(importing.upload("Part", FIRST, onError="abort"))
    assert [kind for kind, _ in said(importing)] == ["import.failed"]

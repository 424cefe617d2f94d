"""Reverting an import: what it wrote goes back, what others wrote since stays and is told."""

import uuid
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hubblewave_pipelines.core.errors import ImportFailed
from hubblewave_pipelines.core.versions import page_of_events
from hubblewave_pipelines.storage import reverts
from hubblewave_pipelines.storage.database import statement
from hubblewave_pipelines.storage.history import select_versions
from hubblewave_pipelines.storage.physical import qualified
from hubblewave_pipelines.storage.records import delete_record, insert_record, update_record
from hubblewave_pipelines.storage.reverts import Revert
from hubblewave_pipelines.transfer import reverts as reverting
from hubblewave_pipelines.transfer.reverts import run_revert

if TYPE_CHECKING:
    from tests.transfer.conftest import Importing

PART: dict[str, Any] = {
    "name": "Part",
    "pluralName": "Parts",
    "fields": [
        {"name": "code", "type": "text", "required": True, "unique": True},
        {"name": "name", "type": "text"},
        {"name": "stock", "type": "integer"},
    ],
    "relationships": [{"name": "parent", "type": "manyToOne", "targetEntity": "Part"}],
}
UPDATE = {"detectDuplicates": True, "uniqueFields": ["code"], "duplicateStrategy": "update"}
SOMEBODY = uuid.uuid4()


class Killed(Exception):
    """The run's process died."""


def ask(importing: "Importing", import_id: uuid.UUID) -> Revert:
    with importing.worker.transaction(importing.tenant.id) as tx:
        asked = tx.one(reverts.insert_revert(importing.tenant.id, import_id, SOMEBODY))
    assert asked is not None
    return asked


def revert(importing: "Importing", import_id: uuid.UUID) -> Revert:
    asked = ask(importing, import_id)
    return run_revert(
        importing.worker, importing.tenant.id, asked.id, run_id="run-2", still_held=lambda: None
    )


def kept(importing: "Importing", import_id: uuid.UUID) -> dict[uuid.UUID, str]:
    with importing.worker.transaction(importing.tenant.id) as tx:
        found = tx.all(reverts.kept_records(importing.tenant.id, import_id, limit=1000))
    return {each.record_id: each.reason for each in found}


def by_code(importing: "Importing") -> dict[str, dict[str, Any]]:
    return {record["code"]: record for record in importing.records("Part", version=True)}


def values(importing: "Importing") -> dict[str, tuple[Any, Any]]:
    return {code: (r["name"], r["stock"]) for code, r in by_code(importing).items()}


def write(importing: "Importing", code: str, name: str) -> None:
    """Somebody sets a record's name, making the record where there is none."""
    part, present = importing.entity("Part"), by_code(importing).get(code)
    with importing.worker.transaction(importing.tenant.id) as tx:
        if present is None:
            tx.one(insert_record(part, {"code": code, "name": name}, actor_id=SOMEBODY))
        else:
            change = update_record(part, present["id"], {"name": name}, actor_id=SOMEBODY)
            tx.one(change)


def remove(importing: "Importing", code: str) -> None:
    present = by_code(importing).get(code)
    if present is not None:
        with importing.worker.transaction(importing.tenant.id) as tx:
            tx.one(delete_record(importing.entity("Part"), present["id"], versions=None))


def rows(given: dict[str, str], stock: int = 1) -> str:
    return "code,name,stock\n" + "".join(f"{c},{n},{stock}\n" for c, n in given.items())


codes = st.sampled_from(["a", "b", "c", "d", "e", "f"])
names = st.dictionaries(codes, st.sampled_from(["x", "y", "z"]), min_size=1)
edits = st.lists(st.tuples(codes, st.sampled_from(["x", "w", None])), max_size=6)


@settings(
    max_examples=12,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(before=names, file=names, since=edits, batch=st.integers(1, 3), crash=st.integers(0, 12))
def test_a_revert_is_as_if_the_import_had_not_been_but_for_later_writes(
    importing: "Importing",
    monkeypatch: pytest.MonkeyPatch,
    before: dict[str, str],
    file: dict[str, str],
    since: list[tuple[str, str | None]],
    batch: int,
    crash: int,
) -> None:
    """Law, for any batch size and a crash at any of its commits: a record written by nobody since
    is as before the import, any other is as its last writer left it."""
    monkeypatch.setattr(reverting, "BATCH", batch)
    if importing.catalog is None:
        importing.define(PART)
    importing.empty()
    for code, name in before.items():
        write(importing, code, name)
    was, earlier = values(importing), by_code(importing)
    import_id = importing.upload("Part", rows(file), **UPDATE)
    importing.run(import_id)
    imported = by_code(importing)
    for code, name in since:
        if name is None:
            remove(importing, code)
        else:
            write(importing, code, name)
    now, edited = values(importing), by_code(importing)
    touched = {
        code: edited.get(code, {}).get("version") != imported.get(code, {}).get("version")
        or edited.get(code, {}).get("id") != imported.get(code, {}).get("id")
        for code in {*imported, *edited}
    }
    asked, left = ask(importing, import_id), crash

    def dies() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Killed

    try:
        run_revert(importing.worker, importing.tenant.id, asked.id, run_id="run-1", still_held=dies)
    except Killed:
        run_revert(
            importing.worker,
            importing.tenant.id,
            asked.id,
            run_id="run-2",
            still_held=lambda: None,
        )
    after = values(importing)
    expected = {
        code: value
        for code in {*was, *now}
        if (value := (now if touched.get(code, True) else was).get(code)) is not None
    }
    assert after == expected
    wrote = {
        code for code in file if imported[code]["version"] != earlier.get(code, {}).get("version")
    }
    told = {code for code, record in imported.items() if record["id"] in kept(importing, import_id)}
    assert told == {code for code in wrote if touched[code]}


def test_it_tells_who_took_the_records_back_and_counts_them(importing: "Importing") -> None:
    importing.define(PART)
    for code in "abc":
        write(importing, code, "old")
    import_id = importing.upload("Part", rows(dict.fromkeys("bcde", "new")), **UPDATE)
    importing.run(import_id)
    write(importing, "c", "later")
    remove(importing, "e")
    removed = by_code(importing)["d"]["id"]
    done = revert(importing, import_id)
    assert (done.status, done.removed, done.restored, done.kept) == ("partial", 1, 1, 2)
    assert sorted(kept(importing, import_id).values()) == ["deleted", "edited"]
    part = importing.entity("Part")
    with importing.worker.transaction(importing.tenant.id) as tx:
        versions = tx.one(select_versions(part, removed, before=None, size=5))
        assert versions is not None
        last = page_of_events(versions, before=None, size=5).items[0]
    assert last.kind == "deleted"
    assert b'"revert"' in bytes(last.by)
    assert str(done.id).encode() in bytes(last.by)


def test_once_is_enough(importing: "Importing") -> None:
    importing.define(PART)
    import_id = importing.upload("Part", rows({"a": "x"}))
    importing.run(import_id)
    done = revert(importing, import_id)
    assert (done.status, done.removed) == ("completed", 1)
    with importing.worker.transaction(importing.tenant.id) as tx:
        assert tx.one(reverts.insert_revert(importing.tenant.id, import_id, SOMEBODY)) is None
    with pytest.raises(ImportFailed, match="over"):
        run_revert(
            importing.worker, importing.tenant.id, done.id, run_id="r", still_held=lambda: None
        )


def test_records_that_others_need_are_kept_with_the_reason(importing: "Importing") -> None:
    """A chain made by the import goes whatever the order; what somebody's record refers to stays."""
    importing.define(PART)
    importing.run(importing.upload("Part", rows({"taken": "old"}), **UPDATE))
    file = "code,name\nroot,x\nleaf,x\nheld,x\n"
    import_id = importing.upload("Part", file, **UPDATE)
    importing.run(import_id)
    made, part = by_code(importing), importing.entity("Part")
    column = part.references["parentId"].column
    with importing.owner.transaction() as tx:  # as the import's own rows could have said
        link = f"update {qualified(part)} set {column} = %s, version = version + 1, updated_by = %s where id = %s"
        tx.run(statement(link, (made["root"]["id"], import_id, made["leaf"]["id"])))
    with importing.worker.transaction(importing.tenant.id) as tx:
        mine = {"code": "mine", "parentId": made["held"]["id"]}
        tx.one(insert_record(part, mine, actor_id=SOMEBODY))
    done = revert(importing, import_id)
    assert kept(importing, import_id) == {made["held"]["id"]: "referenced"}
    assert set(by_code(importing)) == {"taken", "mine", "held"}
    assert (done.status, done.removed) == ("partial", 2)


def test_a_value_that_somebody_took_meanwhile_is_not_taken_back(importing: "Importing") -> None:
    definition = {
        **PART,
        "fields": [*PART["fields"], {"name": "tag", "type": "text", "unique": True}],
    }
    importing.define(definition)
    importing.run(importing.upload("Part", "code,tag\na,red\n", **UPDATE))
    import_id = importing.upload("Part", "code,tag\na,blue\n", **UPDATE)
    importing.run(import_id)
    importing.run(importing.upload("Part", "code,tag\nb,red\n", **UPDATE))
    done = revert(importing, import_id)
    record = by_code(importing)["a"]
    assert kept(importing, import_id) == {record["id"]: "unique"}
    assert (done.status, record["tag"]) == ("partial", "blue")

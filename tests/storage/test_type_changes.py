"""Fields that change their type: every value becomes the one it stands for, or the change is refused."""

import json
import subprocess
import sys
from typing import Any

import pytest

from hubblewave_pipelines.core.entity import Entity, FieldKind
from hubblewave_pipelines.core.errors import Conflict
from hubblewave_pipelines.storage import backfill
from hubblewave_pipelines.storage.catalog import load_catalog
from hubblewave_pipelines.storage.conversions import conversion, retyped
from hubblewave_pipelines.storage.database import Database, statement
from hubblewave_pipelines.storage.ddl import Wish, _lock_key, change_definition, define, preview
from hubblewave_pipelines.storage.physical import SQL_TYPES, qualified
from hubblewave_pipelines.storage.tenants import Tenant
from tests.storage.test_ddl_crash import PROGRAM
from tests.tables import rows_of, shape, surplus

# From a type, to a type, and texts of old values with those of the new ones (None: does not fit).
PAIRS: list[tuple[str, str, list[tuple[str, str | None]]]] = [
    ("integer", "decimal", [("-7", "-7"), ("9223372036854775807", "9223372036854775807")]),
    ("integer", "number", [("5", "5"), ("9007199254740993", None)]),
    ("integer", "text", [("12", "12")]),
    ("integer", "boolean", [("0", "false"), ("1", "true"), ("2", None)]),
    ("number", "decimal", [("0.1", "0.1"), ("1e+20", "100000000000000000000")]),
    ("number", "integer", [("3", "3"), ("2.5", None), ("1e19", None)]),
    ("number", "text", [("0.5", "0.5")]),
    ("decimal", "integer", [("3.00", "3"), ("3.01", None), ("9223372036854775808", None)]),
    ("decimal", "number", [("0.1", "0.1"), ("0.10000000000000000001", None), ("1e400", None)]),
    ("decimal", "longtext", [("12.50", "12.50")]),
    ("boolean", "integer", [("true", "1"), ("false", "0")]),
    ("boolean", "text", [("true", "true")]),
    ("date", "datetime", [("2026-01-31", "2026-01-31 00:00:00+00")]),
    ("date", "text", [("2026-01-31", "2026-01-31")]),
    (
        "datetime",
        "date",
        [("2026-01-31 00:00:00+00", "2026-01-31"), ("2026-01-31 00:00:01+00", None)],
    ),
    ("datetime", "text", [("2026-01-31 10:00:00+02", "2026-01-31T08:00:00.000000Z")]),
    ("uuid", "text", [("0190a9a0-0000-7000-8000-000000000000",) * 2]),
    ("json", "text", [('{"a": 1}', '{"a": 1}')]),
    ("text", "integer", [("+12", "12"), ("", None), ("1.0", None), ("9999999999999999999", None)]),
    ("text", "number", [("1e3", "1000"), ("1e999", None), ("NaN", None), ("x", None)]),
    ("text", "decimal", [("12.50", "12.50"), ("Infinity", None), ("1e5", None)]),
    ("text", "boolean", [("YES", "true"), ("off", "false"), ("maybe", None)]),
    ("text", "date", [("2026-02-28", "2026-02-28"), ("2026-02-30", None), ("today", None)]),
    (
        "text",
        "datetime",
        [
            ("2026-01-31T08:30:00Z", "2026-01-31 08:30:00+00"),
            ("2026-01-31 08:30", "2026-01-31 08:30:00+00"),
            ("2026-01-31T25:00:00Z", None),
            ("now", None),
        ],
    ),
    ("text", "uuid", [("0190A9A0-0000-7000-8000-000000000000",) * 2, ("x", None)]),
    ("enum", "integer", [("1", "1"), ("b", None)]),
    ("longtext", "json", [('{"a":1}', '{"a": 1}'), ("{", None)]),
]


def thing(*fields: dict[str, Any]) -> dict[str, Any]:
    return {"name": "Thing", "pluralName": "Things", "fields": list(fields)}


def field(kind: str, **rules: Any) -> dict[str, Any]:
    more = {"enum": ["1", "b"]} if kind == "enum" else {}
    return {"name": "f", "type": kind, **more, **rules}


def change(owner: Database, tenant: Tenant, *fields: Any, force: bool = False) -> Entity:
    wish = Wish("Thing", thing(*fields), force=force)
    entity = change_definition(owner, tenant.id, wish, requested_by=None).entity
    assert entity is not None
    return entity


def add(app: Database, tenant: Tenant, entity: Entity, *texts: str | None) -> None:
    kind = SQL_TYPES[entity.fields[0].kind]
    column = entity.fields[0].column
    with app.transaction(tenant.id) as tx:
        for text in texts:
            tx.run(
                statement(
                    f"insert into {qualified(entity)} ({column}) values (%s::text::{kind})", [text]
                )
            )


def values(owner: Database, entity: Entity) -> list[str | None]:
    with owner.transaction() as tx:
        text = f"select {entity.fields[0].column}::text from {qualified(entity)} order by id"
        return [row[0] for row in tx.all(statement(text))]


def test_every_change_of_type_is_tried_here_or_refused() -> None:
    tried = {(FieldKind(was), FieldKind(now)) for was, now, _ in PAIRS}
    texts = {kind for kind in FieldKind if SQL_TYPES[kind] == "text"}
    for was in FieldKind:
        for now in FieldKind:
            if retyped(was, now) and conversion(was, now) is not None:
                stand_ins = {
                    (a, b)
                    for a in (texts if was in texts else {was})
                    for b in (texts if now in texts else {now})
                }
                assert stand_ins & tried, (was, now)


def test_values_become_what_they_stand_for_or_the_change_is_refused(
    owner_database: Database, app_database: Database, tenant: Tenant
) -> None:
    removal = Wish("Thing", remove=True, force=True)
    for was, now, pairs in PAIRS:
        (entity,) = define(owner_database, tenant, thing(field(was)))
        wrong = [old for old, new in pairs if new is None]
        add(app_database, tenant, entity, *(old for old, _ in pairs), None)
        before, rows = shape(owner_database, entity), rows_of(owner_database, entity)
        if wrong:
            with pytest.raises(Conflict, match=f"f is not .* in {len(wrong)} record.*force"):
                change(owner_database, tenant, field(now))
            left = (shape(owner_database, entity), rows_of(owner_database, entity))
            assert left == (before, rows), (was, now)
            ids = [row["id"] for row, (_, new) in zip(rows, pairs, strict=False) if new is None]
            with app_database.transaction(tenant.id) as tx:
                tx.run(statement(f"delete from {qualified(entity)} where id = any(%s)", [ids]))
        kept = rows_of(owner_database, entity)
        changed = change(owner_database, tenant, field(now))
        wanted = [new.lower() if now == "uuid" else new for _, new in pairs if new is not None]
        assert values(owner_database, changed) == [*wanted, None], (was, now)
        system = ("id", "version", "updated_at", "xid")
        assert [[row[name] for name in system] for row in rows_of(owner_database, changed)] == [
            [row[name] for name in system] for row in kept
        ]
        assert surplus(owner_database, changed) == {f"{entity.fields[0].column}_0x"}
        with owner_database.transaction() as tx:
            history = f"{changed.schema}.h_{changed.id}"
            found = tx.all(statement(f"select id from {history} where deleted_at is null"))
            assert found == [], "no version of a record ended"
            functions = "select proname from pg_proc where pronamespace = %s::regnamespace"
            assert tx.all(statement(functions, [tenant.schema])) == []
        change_definition(owner_database, tenant.id, removal, requested_by=None)


def test_what_does_not_convert_is_lost_by_force_only(
    owner_database: Database, app_database: Database, tenant: Tenant
) -> None:
    (entity,) = define(owner_database, tenant, thing(field("text", required=True)))
    add(app_database, tenant, entity, "1", "x", "3")
    wish = Wish("Thing", thing(field("integer")))
    with pytest.raises(Conflict, match=r'not a whole number.* in 1 record, for example "x" in '):
        preview(owner_database, tenant.id, wish)
    steps = preview(owner_database, tenant.id, Wish("Thing", wish.body, force=True))
    assert [step.lock.value for step in steps][:2] == ["ACCESS EXCLUSIVE", "ROW EXCLUSIVE"]
    assert any(step.rewrite and step.destructive and not step.transactional for step in steps)
    assert any(step.breaking for step in steps)
    with pytest.raises(Conflict, match="f is not present in 1 record"):
        change(owner_database, tenant, field("integer", required=True), force=True)
    assert surplus(owner_database, entity) == set()
    changed = change(owner_database, tenant, field("integer", unique=True), force=True)
    assert values(owner_database, changed) == ["1", None, "3"]


def test_rules_of_the_new_type_hold_for_the_old_values(
    owner_database: Database, app_database: Database, tenant: Tenant
) -> None:
    (entity,) = define(owner_database, tenant, thing(field("integer", unique=True, max=1000)))
    add(app_database, tenant, entity, "5", "70", "700")
    for rules, said in (
        ({"max": 100}, "f is not at most 100 in 1 record"),
        ({"min": 6}, "f is not at least 6 in 1 record"),
    ):
        with pytest.raises(Conflict, match=said):
            change(owner_database, tenant, field("decimal", **rules))
        assert surplus(owner_database, entity) == set()
    with pytest.raises(Conflict, match="f is not one of the enum's values in 2 records"):
        change(owner_database, tenant, {"name": "f", "type": "enum", "enum": ["5"]})
    once = change(owner_database, tenant, field("text", unique=True, required=True, maxLength=3))
    again = change(owner_database, tenant, field("number", unique=True, required=True, min=1))
    column = entity.fields[0].column
    assert [once.fields[0].column, again.fields[0].column] == [f"{column}_1", f"{column}_2"]
    assert surplus(owner_database, again) == {f"{column}_0x", f"{column}_1_1x"}
    assert values(owner_database, again) == ["5", "70", "700"]


def test_writers_go_on_and_a_held_row_holds_up_nobody(
    owner_database: Database,
    app_database: Database,
    tenant: Tenant,
    other_tenant: Tenant,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backfill, "_BATCH", 10)
    (entity,) = define(owner_database, tenant, thing(field("integer")))
    (other,) = define(owner_database, other_tenant, thing(field("integer")))
    elsewhere = shape(owner_database, other)
    add(app_database, tenant, entity, *(str(n) for n in range(50)))
    first, *_, last = (row["id"] for row in rows_of(owner_database, entity))
    column, table = entity.fields[0].column, qualified(entity)
    batch, passes = backfill._batch, []
    writer, reader = (
        owner_database.connect(autocommit=False),
        owner_database.connect(autocommit=False),
    )

    def beside(*given: Any) -> Any:
        if not passes:  # the column is there; one row is being written, another only held
            write = f"update {table} set {column} = 999, version = version + 1 where id = %s"
            writer.execute(write.encode(), (first,))
            reader.execute(f"select from {table} where id = %s for update".encode(), (last,))
        elif given[3] and not passes[-1]:  # everybody else's rows were filled by now
            writer.commit()
            reader.rollback()
        passes.append(given[3])
        return batch(*given)

    monkeypatch.setattr(backfill, "_batch", beside)
    changed = change(owner_database, tenant, field("text"))
    writer.close()
    reader.close()
    assert passes == [False] * 6 + [True] * 6
    assert values(owner_database, changed) == ["999", *(str(n) for n in range(1, 50))]
    assert shape(owner_database, other) == elsewhere


@pytest.mark.parametrize("number", [3, 5, 9, 14, 18])
def test_a_killed_change_of_type_is_undone_by_the_next(
    owner_database: Database, app_database: Database, tenant: Tenant, number: int
) -> None:
    body = {"name": "Contact", "pluralName": "Contacts", "fields": [field("text", unique=True)]}
    (before,) = define(owner_database, tenant, body)
    add(app_database, tenant, before, "1", "22")
    found = shape(owner_database, before)
    changed = {**body, "fields": [field("integer", unique=True, required=True, min=0)]}
    command = [sys.executable, "-c", PROGRAM, owner_database.url, str(tenant.id)]
    died = subprocess.run(
        [*command, json.dumps(changed), str(number)], capture_output=True, text=True, check=False
    )
    assert died.returncode == -9, died.stderr
    with owner_database.transaction() as tx:
        tx.one(statement("select pg_advisory_lock(%s)", [_lock_key(tenant.id)]))
        tx.one(statement("select pg_advisory_unlock_all()"))
        assert load_catalog(tx, tenant.id).named("Contact") == before
    add(app_database, tenant, before, "333")  # whatever is left behind refuses nobody who is right
    wish = Wish("Contact", {**body, "description": "repaired"})
    repaired = change_definition(owner_database, tenant.id, wish, requested_by=None).entity
    assert repaired is not None
    assert shape(owner_database, repaired) == found
    add(app_database, tenant, repaired, "not a number")
    with app_database.transaction(tenant.id) as tx:
        column = before.fields[0].column
        tx.run(statement(f"delete from {qualified(before)} where {column} = 'not a number'"))
    done = change_definition(owner_database, tenant.id, Wish("Contact", changed), requested_by=None)
    assert done.entity is not None
    assert values(owner_database, done.entity) == ["1", "22", "333"]

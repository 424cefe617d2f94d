"""Changes of definition on a real PostgreSQL: what the tables become, and what is refused."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import psycopg
import pytest

from hubblewave_pipelines.core.definition import as_json
from hubblewave_pipelines.core.entity import Catalog, Entity
from hubblewave_pipelines.core.errors import Conflict, NotFound
from hubblewave_pipelines.storage.database import Database, statement
from hubblewave_pipelines.storage.ddl import Wish, apply_change, change_definition, define, preview
from hubblewave_pipelines.storage.physical import link_table, qualified
from hubblewave_pipelines.storage.tenants import Tenant
from tests.tables import rows_of, shape, surplus

Change = Callable[..., tuple[Catalog, Entity | None]]


@pytest.fixture
def change(owner_database: Database, tenant: Tenant) -> Change:
    """`change(name, body)` replaces a definition; `change(name)` removes it."""

    def do(
        name: str | None, body: dict[str, Any] | None = None, *, force: bool = False
    ) -> tuple[Catalog, Entity | None]:
        wish = Wish(name, body, remove=body is None, force=force)
        done = change_definition(owner_database, tenant.id, wish, requested_by=None)
        return done.catalog, done.entity

    return do


def contact(*fields: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": "Contact", "pluralName": "Contacts", "fields": list(fields), **more}


def text(name: str, **rules: Any) -> dict[str, Any]:
    return {"name": name, "type": "text", **rules}


def add_row(database: Database, tenant: Tenant, entity: Entity, **values: object) -> UUID:
    """A record by public names; its id."""
    columns = {"version": 1} | {entity.columns[name]: value for name, value in values.items()}
    named = ", ".join(columns)
    marks = ", ".join(["%s"] * len(columns))
    with database.transaction(tenant.id) as tx:
        row = tx.one(
            statement(
                f"insert into {qualified(entity)} ({named}) values ({marks}) returning id",
                list(columns.values()),
            )
        )
    assert row is not None
    return UUID(str(row[0]))


def test_a_new_entity_has_the_promised_table(owner_database: Database, tenant: Tenant) -> None:
    kinds = {
        "text": "text",
        "longtext": "text",
        "integer": "bigint",
        "number": "double precision",
        "decimal": "numeric",
        "boolean": "boolean",
        "date": "date",
        "datetime": "timestamp with time zone",
        "email": "text",
        "url": "text",
        "uuid": "uuid",
        "json": "jsonb",
        "enum": "text",
    }
    fields = [
        {"name": f"a{kind}", "type": kind, **({"enum": ["x"]} if kind == "enum" else {})}
        for kind in kinds
    ]
    (entity,) = define(owner_database, tenant, contact(*fields))
    found = shape(owner_database, entity)
    assert {f.name[1:]: found.columns[f.column].type for f in entity.fields} == kinds
    assert {
        name: (column.type, column.required)
        for name, column in found.columns.items()
        if not name.startswith("c_")
    } == {
        "id": ("uuid", True),
        "created_at": ("timestamp with time zone", True),
        "updated_at": ("timestamp with time zone", True),
        "version": ("bigint", True),
        "created_by": ("uuid", False),
        "updated_by": ("uuid", False),
        "xid": ("xid8", True),
    }
    assert any("(updated_at, id)" in index for index in found.indexes.values())
    assert surplus(owner_database, entity) == set()


def test_a_record_gets_its_system_values_from_the_table(
    owner_database: Database, app_database: Database, tenant: Tenant
) -> None:
    (entity,) = define(owner_database, tenant, contact(text("a", default="50% 'off'\\")))
    id = add_row(app_database, tenant, entity)
    (row,) = rows_of(owner_database, entity)
    assert row["id"] == id
    assert id.version == 7
    assert (row["version"], row[entity.columns["a"]]) == (1, "50% 'off'\\")


RULES = [
    (text("f", maxLength=3), "abc", "abcd"),
    (text("f", maxLength=3), "äöü", "äöüß"),
    ({"name": "f", "type": "enum", "enum": ["it's", "100%"]}, "it's", "its"),
    ({"name": "f", "type": "integer", "min": -5, "max": 5}, -5, 6),
    ({"name": "f", "type": "number", "min": 0.5}, 0.5, 0.25),
    ({"name": "f", "type": "decimal", "max": "10.50"}, "10.50", "10.51"),
    ({"name": "f", "type": "date", "min": "2026-01-01"}, "2026-01-01", "2025-12-31"),
    (
        {"name": "f", "type": "datetime", "max": "2026-01-01T00:00:00+02:00"},
        "2025-12-31T22:00:00Z",
        "2025-12-31T22:00:01Z",
    ),
]


@pytest.mark.parametrize(("field", "good", "bad"), RULES, ids=lambda value: str(value)[:50])
def test_the_table_itself_keeps_the_rules(
    owner_database: Database,
    app_database: Database,
    tenant: Tenant,
    field: dict[str, Any],
    good: object,
    bad: object,
) -> None:
    (entity,) = define(owner_database, tenant, contact(field))
    add_row(app_database, tenant, entity, f=good)
    add_row(app_database, tenant, entity, f=None)
    with pytest.raises(psycopg.errors.CheckViolation):
        add_row(app_database, tenant, entity, f=bad)


def test_adding_fields_rewrites_nothing_and_gives_defaults_to_existing_records(
    owner_database: Database, app_database: Database, tenant: Tenant, change: Change
) -> None:
    (entity,) = define(owner_database, tenant, contact(text("a")))
    add_row(app_database, tenant, entity, a="x")
    file = shape(owner_database, entity).file
    wider = contact(
        text("a"),
        text("b"),
        text("c", required=True, default="new", maxLength=5),
        {"name": "d", "type": "json", "default": {"k": ["50%"]}},
    )
    _, entity_now = change("Contact", wider)
    assert entity_now is not None
    assert shape(owner_database, entity_now).file == file
    (row,) = rows_of(owner_database, entity_now)
    values = {name: row[column] for name, column in entity_now.columns.items()}
    assert (values["a"], values["b"], values["c"], values["d"]) == (
        "x",
        None,
        "new",
        {"k": ["50%"]},
    )
    assert surplus(owner_database, entity_now) == set()


def test_a_writer_that_has_not_seen_the_change_can_still_write(
    owner_database: Database, app_database: Database, tenant: Tenant, change: Change
) -> None:
    (before,) = define(owner_database, tenant, contact(text("a", required=True)))
    _, after = change("Contact", contact(text("b", required=True, default="x")))
    assert after is not None
    add_row(app_database, tenant, before, a="old client")
    add_row(app_database, tenant, after, b="new client")


def test_a_required_field_without_default_needs_an_empty_table(
    owner_database: Database, app_database: Database, tenant: Tenant, change: Change
) -> None:
    (entity,) = define(owner_database, tenant, contact(text("a")))
    _, entity_now = change("Contact", contact(text("a"), text("b", required=True)))
    assert entity_now is not None
    add_row(app_database, tenant, entity_now, b="x")
    before = shape(owner_database, entity)
    more = contact(text("a"), text("b", required=True), text("c", required=True))
    with pytest.raises(Conflict) as caught:
        change("Contact", more)
    assert [f.pointer for f in caught.value.faults] == ["#/fields/2/required"]
    assert "default" in caught.value.faults[0].detail
    assert shape(owner_database, entity) == before


def test_making_a_field_required_checks_the_records_first(
    owner_database: Database, app_database: Database, tenant: Tenant, change: Change
) -> None:
    (entity,) = define(owner_database, tenant, contact(text("a")))
    id = add_row(app_database, tenant, entity, a=None)
    before = shape(owner_database, entity)
    with pytest.raises(Conflict, match=f"a is not present in 1 record, .*{id}"):
        change("Contact", contact(text("a", required=True)))
    assert shape(owner_database, entity) == before
    with owner_database.transaction() as tx:
        tx.run(statement(f"update {qualified(entity)} set {entity.columns['a']} = 'x'"))
    change("Contact", contact(text("a", required=True)))
    with pytest.raises(psycopg.errors.NotNullViolation):
        add_row(app_database, tenant, entity, a=None)
    change("Contact", contact(text("a")))
    add_row(app_database, tenant, entity, a=None)


def test_a_unique_field_is_refused_with_its_duplicates_and_leaves_nothing_behind(
    owner_database: Database, app_database: Database, tenant: Tenant, change: Change
) -> None:
    (entity,) = define(owner_database, tenant, contact(text("a")))
    for value in ("x", "x", "y", "y", "y", "z", None, None):
        add_row(app_database, tenant, entity, a=value)
    before = shape(owner_database, entity)
    with pytest.raises(Conflict) as caught:
        change("Contact", contact(text("a", unique=True)))
    assert (
        '2 values occur more than once, for example "y" (3 records), "x" (2 records)'
        in caught.value.detail
    )
    assert shape(owner_database, entity) == before
    with owner_database.transaction() as tx:
        tx.run(statement(f"delete from {qualified(entity)}"))
    add_row(app_database, tenant, entity, a="x")
    _, unique = change("Contact", contact(text("a", unique=True)))
    assert unique is not None
    with pytest.raises(psycopg.errors.UniqueViolation):
        add_row(app_database, tenant, unique, a="x")
    assert surplus(owner_database, unique) == set()


def test_a_narrower_rule_is_refused_with_the_records_that_break_it(
    owner_database: Database, app_database: Database, tenant: Tenant, change: Change
) -> None:
    state = {"name": "s", "type": "enum"}
    (entity,) = define(owner_database, tenant, contact({**state, "enum": ["a", "b%"]}))
    add_row(app_database, tenant, entity, s="b%")
    before = shape(owner_database, entity)
    with pytest.raises(Conflict, match=r's is not one of .* in 1 record, .*"b%"'):
        change("Contact", contact({**state, "enum": ["a"]}))
    assert shape(owner_database, entity) == before
    _, wider = change("Contact", contact({**state, "enum": ["a", "b%", "c"]}))
    assert wider is not None
    add_row(app_database, tenant, wider, s="c")


def test_a_removed_field_keeps_its_column_without_its_rules(
    owner_database: Database, app_database: Database, tenant: Tenant, change: Change
) -> None:
    (entity,) = define(
        owner_database, tenant, contact(text("a"), text("b", required=True, unique=True))
    )
    add_row(app_database, tenant, entity, a="1", b="kept")
    _, smaller = change("Contact", contact(text("a")))
    assert smaller is not None
    add_row(app_database, tenant, smaller, a="2")
    retired = entity.columns["b"]
    assert sorted(str(row[retired]) for row in rows_of(owner_database, entity)) == ["None", "kept"]
    assert surplus(owner_database, smaller) == {retired}
    _, again = change("Contact", contact(text("a"), text("b")))
    assert again is not None
    assert again.columns["b"] != retired


def test_a_rename_changes_no_table(
    owner_database: Database, tenant: Tenant, change: Change
) -> None:
    (entity,) = define(owner_database, tenant, contact(text("a")))
    before = shape(owner_database, entity)
    body = as_json(entity)
    body |= {"name": "Person", "pluralName": "People"}
    body["fields"][0]["name"] = "z"
    catalog, renamed = change("Contact", body)
    assert renamed is not None
    assert shape(owner_database, renamed) == before
    assert (renamed.slug, renamed.path) == ("contacts", "people")
    assert catalog.named("Contact") is None
    assert catalog.at_path("PEOPLE") == renamed


def test_kinds_of_text_share_a_column_and_unlike_kinds_have_no_way(
    owner_database: Database, app_database: Database, tenant: Tenant, change: Change
) -> None:
    born = {"name": "n", "type": "date"}
    (entity,) = define(owner_database, tenant, contact(text("a"), born))
    with pytest.raises(Conflict) as caught:
        change("Contact", contact(text("a"), {"name": "n", "type": "boolean"}))
    assert [f.pointer for f in caught.value.faults] == ["#/fields/1/type"]
    id = add_row(app_database, tenant, entity, a="not an address")
    with pytest.raises(Conflict, match=f'a is not an e-mail address in .*"not an address" in {id}'):
        change("Contact", contact({"name": "a", "type": "email"}, born))
    with owner_database.transaction() as tx:
        tx.run(statement(f"update {qualified(entity)} set {entity.columns['a']} = 'a@example.org'"))
    for kind in ("email", "longtext", "text"):
        _, changed = change("Contact", contact({"name": "a", "type": kind}, born))
        assert changed is not None
        assert changed.columns["a"] == entity.columns["a"]


def test_an_entity_with_records_goes_only_by_force(
    owner_database: Database, app_database: Database, tenant: Tenant, change: Change
) -> None:
    (entity,) = define(owner_database, tenant, contact(text("a")))
    add_row(app_database, tenant, entity, a="x")
    with pytest.raises(Conflict, match=r"holds 1 record, .*force=true"):
        change("Contact")
    catalog, _ = change("Contact", force=True)
    assert list(catalog) == []
    with owner_database.transaction() as tx:
        assert tx.one(statement("select to_regclass(%s)", [qualified(entity)])) == (None,)
    with pytest.raises(NotFound):
        change("Contact")


ORDER = {
    "name": "Order",
    "pluralName": "Orders",
    "fields": [],
    "relationships": [
        {"name": "contact", "type": "manyToOne", "targetEntity": "Contact"},
        {"name": "watchers", "type": "manyToMany", "targetEntity": "Contact"},
    ],
}


def test_an_entity_others_refer_to_stays(
    owner_database: Database, tenant: Tenant, change: Change
) -> None:
    define(owner_database, tenant, contact(), ORDER)
    with pytest.raises(Conflict, match=r"Order\.contact, Order\.watchers"):
        change("Contact", force=True)
    change("Order")
    change("Contact")


@pytest.mark.parametrize(
    ("on_delete", "left"), [("restrict", None), ("setNull", [None]), ("cascade", [])]
)
def test_deleting_a_target_does_what_the_relation_says(
    owner_database: Database,
    app_database: Database,
    tenant: Tenant,
    change: Change,
    on_delete: str,
    left: list[None] | None,
) -> None:
    target, order = define(owner_database, tenant, contact(), ORDER)
    body = as_json(order)
    body["relationships"][0]["onDelete"] = on_delete
    _, order_now = change("Order", body)
    assert order_now is not None
    id = add_row(app_database, tenant, target)
    add_row(app_database, tenant, order_now, contactId=id)
    removal = statement(f"delete from {qualified(target)}")
    if left is None:
        with (
            pytest.raises(psycopg.errors.ForeignKeyViolation),
            app_database.transaction(tenant.id) as tx,
        ):
            tx.run(removal)
        return
    with app_database.transaction(tenant.id) as tx:
        tx.run(removal)
    found = rows_of(owner_database, order_now)
    assert [row[order_now.columns["contactId"]] for row in found] == left
    assert surplus(owner_database, order_now) == set()


def test_a_reference_to_no_record_is_refused_by_the_table(
    owner_database: Database, app_database: Database, tenant: Tenant, change: Change
) -> None:
    _, order = define(owner_database, tenant, contact(), {**ORDER, "relationships": []})
    add_row(app_database, tenant, order)
    _, order_now = change("Order", ORDER)
    assert order_now is not None
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        add_row(app_database, tenant, order_now, contactId=UUID(int=5))
    assert surplus(owner_database, order_now) == set()


def test_links_with_pairs_go_only_by_force(
    owner_database: Database, app_database: Database, tenant: Tenant, change: Change
) -> None:
    target, order = define(owner_database, tenant, contact(), ORDER)
    link = order.relations_by_name["watchers"].link
    assert link is not None
    pair = (
        add_row(app_database, tenant, order),
        add_row(app_database, tenant, target),
    )
    table = link_table(order.schema, link)
    with app_database.transaction(tenant.id) as tx:
        tx.run(statement(f"insert into {table} values (%s, %s)", pair))
    without = {**ORDER, "relationships": ORDER["relationships"][:1]}
    with pytest.raises(Conflict, match="watchers holds 1 pair,"):
        change("Order", without)
    # With the other side defined the pairs outlive this one, and no force is needed.
    watched = {
        "name": "watched",
        "type": "manyToMany",
        "targetEntity": "Order",
        "field": "watchers",
    }
    change("Contact", contact(relationships=[watched]))
    catalog, _ = change("Order", without)
    left = catalog.named("Contact")
    assert left is not None
    assert left.relations[0].field == ""
    with owner_database.transaction() as tx:
        assert tx.one(statement(f"select count(*) from {table}")) == (1,)
    back = {
        **ORDER,
        "relationships": [
            *without["relationships"],
            ORDER["relationships"][1] | {"field": "watched"},
        ],
    }
    _, again = change("Order", back)
    assert again is not None
    assert again.relations_by_name["watchers"].link == link
    change("Contact", contact())
    change("Order", without, force=True)
    with owner_database.transaction() as tx:
        assert tx.one(statement("select to_regclass(%s)", [table])) == (None,)


def test_a_change_is_counted_and_written_down(
    owner_database: Database, tenant: Tenant, change: Change
) -> None:
    catalog = define(owner_database, tenant, contact(text("a")))
    (entity,) = catalog
    again, _ = change("Contact", as_json(entity))
    assert again.version == catalog.version  # nothing differs: nothing happens
    later, _ = change("Contact", contact(text("a"), text("b")))
    assert later.version == catalog.version + 1
    with owner_database.transaction() as tx:
        ledger = tx.all(
            statement(
                "select state, steps_done, jsonb_array_length(steps->'plan') "
                "from hubblewave.schema_changes order by created_at"
            )
        )
    assert [state for state, _, _ in ledger] == ["done", "done"]
    assert all(done == planned for _, done, planned in ledger)


def test_a_preview_says_what_would_happen_and_does_nothing(
    owner_database: Database, tenant: Tenant
) -> None:
    catalog = define(owner_database, tenant, contact(text("a")))
    (entity,) = catalog
    before = shape(owner_database, entity)
    steps = preview(
        owner_database, tenant.id, Wish("Contact", contact(text("a", unique=True), text("b")))
    )
    assert [step.phase for step in steps] == sorted(
        (step.phase for step in steps), key=["expand", "build", "settle"].index
    )
    assert not any(step.rewrite for step in steps)
    assert any(not step.transactional for step in steps)
    optional = preview(owner_database, tenant.id, Wish("Contact", contact(text("a"), text("b"))))
    assert not any(step.breaking or step.destructive for step in optional)
    gone = preview(owner_database, tenant.id, Wish("Contact", remove=True))
    assert any(step.destructive for step in gone)
    assert shape(owner_database, entity) == before


def test_a_change_of_what_is_no_longer_there_is_refused(
    owner_database: Database, tenant: Tenant, change: Change
) -> None:
    (entity,) = define(owner_database, tenant, contact(text("a")))
    change("Contact", contact(text("a"), text("b")))
    with pytest.raises(Conflict, match="changed meanwhile"):
        apply_change(owner_database, tenant, entity, None)

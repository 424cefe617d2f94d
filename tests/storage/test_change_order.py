"""Laws of the change feed: following the token never misses a commit, however late, and ends equal
to the table; nothing is shown before everything that comes before it is known."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hubblewave_pipelines.core.entity import Entity
from hubblewave_pipelines.core.feed import START, Feed, Place
from hubblewave_pipelines.core.query import columns_of
from hubblewave_pipelines.storage.changes import Changes, select_changes
from hubblewave_pipelines.storage.database import Database, Role, Transaction, statement
from hubblewave_pipelines.storage.ddl import define
from hubblewave_pipelines.storage.history import restore_deleted
from hubblewave_pipelines.storage.physical import qualified
from hubblewave_pipelines.storage.records import delete_record, insert_record, update_record
from hubblewave_pipelines.storage.tenants import Tenant

ACTOR = UUID(int=7)
IDS = [UUID(int=0x0190A9A0_0000_7000_8000_000000000000 + n) for n in range(6)]
NOTE = {
    "name": "Note",
    "pluralName": "Notes",
    "fields": [{"name": "text", "type": "text"}, {"name": "rank", "type": "integer"}],
}


@pytest.fixture
def note(owner_database: Database, tenant: Tenant) -> Entity:
    found = define(owner_database, tenant, NOTE).named("Note")
    assert found is not None
    return found


@contextmanager
def writer(database: Database, tenant: Tenant) -> Iterator[Transaction]:
    """A transaction on a connection of its own, committed at the end."""
    with database.connect(autocommit=False) as connection:
        tx = Transaction(connection)
        tx.act_for(tenant.id)
        yield tx


def put(tx: Transaction, entity: Entity, record_id: UUID, text: str) -> None:
    values = {"text": text}
    if tx.one(insert_record(entity, values, actor_id=ACTOR, record_id=record_id)) is None:
        tx.one(update_record(entity, record_id, values, actor_id=ACTOR))


class Follower:
    """A client of the feed: what it was told so far, and the place it goes on from."""

    def __init__(self, entity: Entity, limit: int = 100, since: Place | None = START) -> None:
        self.entity, self.limit, self.since = entity, limit, since
        self.state: dict[str, dict[str, Any]] = {}
        self.told: list[tuple[str, str]] = []

    def read(self, tx: Transaction) -> Changes:
        feed = Feed(self.entity, columns_of(self.entity), self.since, self.limit, 0)
        page = tx.one(select_changes(feed))
        assert page is not None
        items = json.loads(page.items)
        assert len(items) == page.shown <= self.limit
        for item in items:
            self.told.append((item["kind"], item["id"]))
            if item["kind"] == "deleted":
                self.state.pop(item["id"], None)
            else:
                self.state[item["id"]] = item["record"]
        self.since = page.next
        return page

    def drain(self, tx: Transaction) -> None:
        while self.read(tx).more:
            pass


def table(tx: Transaction, entity: Entity) -> dict[str, tuple[Any, ...]]:
    text = entity.fields_by_name["text"].column
    rows = tx.all(statement(f"select id::text, version, {text} from {qualified(entity)}"))
    return {row[0]: row[1:] for row in rows}


def shown(follower: Follower) -> dict[str, tuple[Any, ...]]:
    return {key: (value["version"], value["text"]) for key, value in follower.state.items()}


def test_a_transaction_that_commits_late_is_not_skipped(
    app_database: Database, note: Entity, tenant: Tenant
) -> None:
    follower = Follower(note)
    with ExitStack() as open_reader:
        reader = open_reader.enter_context(app_database.transaction(tenant.id))
        with writer(app_database, tenant) as early:
            put(early, note, IDS[0], "early")
            with writer(app_database, tenant) as late:
                put(late, note, IDS[1], "late")
            # The later transaction has committed; the earlier one is still running.
            follower.drain(reader)
            assert follower.told == []
        follower.drain(reader)
        assert follower.told == [("created", str(IDS[0])), ("created", str(IDS[1]))]
        follower.drain(reader)
        assert len(follower.told) == 2


def test_an_update_moves_a_record_to_the_end_and_a_delete_leaves_its_tombstone(
    app_database: Database, note: Entity, tenant: Tenant
) -> None:
    follower = Follower(note)
    for record in IDS[:3]:
        with app_database.transaction(tenant.id) as tx:
            put(tx, note, record, "a")
    with app_database.transaction(tenant.id) as tx:
        follower.drain(tx)
    with app_database.transaction(tenant.id) as tx:
        put(tx, note, IDS[0], "b")
    with app_database.transaction(tenant.id) as tx:
        tx.one(delete_record(note, IDS[1]))
    seen = len(follower.told)
    with app_database.transaction(tenant.id) as tx:
        follower.drain(tx)
        assert follower.told[seen:] == [("updated", str(IDS[0])), ("deleted", str(IDS[1]))]
        assert shown(follower) == table(tx, note)
        # Who starts from the beginning learns the present state only, and of deletions.
        newcomer = Follower(note)
        newcomer.drain(tx)
        assert [kind for kind, _ in newcomer.told] == ["created", "updated", "deleted"]
        assert shown(newcomer) == table(tx, note)


def test_a_deleted_record_that_came_back_is_told_as_present(
    app_database: Database, note: Entity, tenant: Tenant
) -> None:
    with app_database.transaction(tenant.id) as tx:
        put(tx, note, IDS[0], "a")
    with app_database.transaction(tenant.id) as tx:
        tx.one(delete_record(note, IDS[0]))
        assert tx.one(restore_deleted(note, IDS[0], 1, actor_id=ACTOR)) is not None
    with app_database.transaction(tenant.id) as tx:
        follower = Follower(note)
        follower.drain(tx)
        assert follower.told == [("updated", str(IDS[0]))]
        assert shown(follower) == table(tx, note) == {str(IDS[0]): (3, "a")}


def test_from_now_on_tells_what_comes_and_nothing_else(
    app_database: Database, note: Entity, tenant: Tenant
) -> None:
    follower = Follower(note, since=None)
    with app_database.transaction(tenant.id) as tx:
        put(tx, note, IDS[0], "before")
    with writer(app_database, tenant) as running:
        put(running, note, IDS[1], "running")
        with app_database.transaction(tenant.id) as tx:
            follower.read(tx)
    with app_database.transaction(tenant.id) as tx:
        put(tx, note, IDS[2], "after")
    with app_database.transaction(tenant.id) as tx:
        follower.drain(tx)
    assert [record for _, record in follower.told] == [str(IDS[1]), str(IDS[2])]


def test_a_token_never_goes_back(app_database: Database, note: Entity, tenant: Tenant) -> None:
    ahead = Place(2**40, IDS[0])
    with app_database.transaction(tenant.id) as tx:
        put(tx, note, IDS[0], "a")
        follower = Follower(note, since=ahead)
        assert follower.read(tx).shown == 0
    assert follower.since == ahead


# Three writers, each with its own open transaction, and two followers with small and large pages.
# Few records and long runs, so that what is told, overwritten and deleted meets.
write = st.tuples(
    st.sampled_from(["put", "put", "delete"]), st.integers(0, 2), st.sampled_from(IDS[:4])
)
end = st.tuples(st.just("end"), st.integers(0, 2), st.sampled_from([True, True, False]))
read = st.tuples(st.just("read"), st.integers(0, 1), st.none())
steps = st.integers(20, 60).flatmap(
    lambda size: st.lists(st.one_of(write, write, end, read), min_size=size, max_size=size)
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
def test_any_interleaving_of_writers_and_readers_ends_equal_to_the_table(
    app_database: Database, note: Entity, tenant: Tenant, steps: list[tuple[str, int, Any]]
) -> None:
    """Records that another open transaction has touched are left alone: it would block."""
    with app_database.transaction(tenant.id) as tx:
        tx.run(statement(f"delete from {qualified(note)}"))
    followers = [Follower(note, 1), Follower(note, 3)]
    with ExitStack() as stack:
        writers = [
            Transaction(stack.enter_context(app_database.connect(autocommit=False)))
            for _ in range(3)
        ]
        reader = Transaction(stack.enter_context(Database(app_database.url, Role.APP).connect()))
        reader.run(statement("select set_config('hubblewave.tenant', %s, false)", [str(tenant.id)]))
        held: list[set[UUID]] = [set(), set(), set()]
        for number, (what, who, detail) in enumerate(steps):
            if what == "read":
                followers[who].read(reader)
            elif what == "end":
                ended = writers[who].connection
                ended.execute("commit" if detail else "rollback")
                held[who].clear()
            elif not any(detail in others for n, others in enumerate(held) if n != who):
                if not held[who]:
                    writers[who].act_for(tenant.id)
                held[who].add(detail)
                if what == "put":
                    put(writers[who], note, detail, f"text {number}")
                else:
                    writers[who].one(delete_record(note, detail))
        for left in writers:
            left.connection.execute("commit")
        truth = table(reader, note)
        for follower in [*followers, Follower(note, 2)]:
            follower.drain(reader)
            assert shown(follower) == truth

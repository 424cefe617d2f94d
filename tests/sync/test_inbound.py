"""The inbound engine against an external system in memory: what a run brings over, and what it says."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from hubblewave_pipelines.core.errors import FilterIgnored, SyncFailed
from hubblewave_pipelines.core.stream import DeleteStrategy
from hubblewave_pipelines.storage import sync_jobs
from hubblewave_pipelines.storage.database import statement
from hubblewave_pipelines.storage.sync_state import Learned
from hubblewave_pipelines.sync.learning import learn
from tests.plugins.stack import eventually
from tests.sync.conftest import MAPPING, Syncing
from tests.sync.fake_vendor import START


def _fill(syncing: Syncing, count: int = 10) -> None:
    for number in range(count):
        syncing.vendor.put(f"k{number:03}", Name=f"deal {number}", Amount=f"{number}.50")
        syncing.vendor.tick()


def test_everything_comes_over_and_an_identical_run_writes_nothing(syncing: Syncing) -> None:
    _fill(syncing)
    job = syncing.job()
    run = syncing.run(job)
    assert (run.status, run.processed, run.created, run.failed) == ("success", 10, 10, 0)
    assert syncing.state() == syncing.vendor.state()
    assert (run.requests, run.min_requests) == (7, 7)  # describe, mark, 4 pages, count
    assert run.mark == syncing.vendor.now
    written = syncing.written()
    for window in (None, (START, START + timedelta(hours=1))):
        rerun = syncing.run(job, window)
        assert (rerun.created, rerun.updated, rerun.deleted) == (0, 0, 0)
    assert syncing.written() == written
    assert syncing.again(job).coverage == ((None, syncing.vendor.now),)


def test_edits_late_commits_and_deletes_arrive_in_their_windows(syncing: Syncing) -> None:
    vendor = syncing.vendor
    _fill(syncing)
    job = syncing.job()
    syncing.run(job)
    vendor.put("k003", Name="edited")
    vendor.put("k004", Name="late", late=60)
    vendor.drop("k005")
    vendor.tick(10)
    first = syncing.run(job)
    assert (first.updated, first.deleted) == (0, 0)  # the mark waits for the open transaction
    vendor.tick(100)
    second = syncing.run(job)
    assert (second.updated, second.deleted) == (2, 1)
    assert syncing.state() == vendor.state()
    assert "k005" not in syncing.state()
    assert syncing.gaps(job) == ()


def test_a_record_edited_while_it_is_read_is_neither_lost_nor_older(syncing: Syncing) -> None:
    vendor = syncing.vendor
    _fill(syncing)
    job = syncing.job()

    def edit(number: int) -> None:
        vendor.tick()
        vendor.put("k001" if number % 2 else "k008", Name=f"edit {number}")

    vendor.before = edit
    syncing.run(job)
    vendor.before = None
    vendor.tick(5)
    syncing.run(job)
    assert syncing.state() == vendor.state()


def test_an_older_window_never_overwrites_what_is_newer(syncing: Syncing) -> None:
    vendor = syncing.vendor
    _fill(syncing)
    job = syncing.job()
    old = dict(vendor.records)
    syncing.run(job)
    vendor.put("k002", Name="new")
    vendor.drop("k007")
    vendor.tick(5)
    syncing.run(job)
    vendor.records = {key: versions[:1] for key, versions in old.items()}  # a stale replica answers
    backfill = syncing.run(job, (START, vendor.now))
    assert (backfill.created, backfill.updated) == (0, 0)
    assert syncing.state()["k002"] == "new"
    assert "k007" not in syncing.state()


def test_what_cannot_be_brought_over_is_set_aside_and_replayed(syncing: Syncing) -> None:
    vendor = syncing.vendor
    _fill(syncing, 4)
    vendor.put("k009", Name="much too long for this field", Amount="1")
    vendor.put("k010", Name="fine\0", Amount="x")
    vendor.tick()
    job = syncing.job()
    run = syncing.run(job)
    assert (run.status, run.created, run.failed) == ("partial", 4, 2)
    letters = {one.key: one for one in syncing.letters(job)}
    assert letters["k009"].code == "length"
    assert letters["k009"].payload["Name"] == "much too long for this field"  # type: ignore[call-overload, index]
    assert {fault["field"] for fault in letters["k010"].faults} == {"name", "amount"}  # type: ignore[union-attr, index, call-overload]
    rerun = syncing.run(job, (START, vendor.now))
    assert (rerun.status, rerun.failed) == ("partial", 2)
    assert {one.attempts for one in syncing.letters(job)} == {1}
    vendor.put("k009", Name="short")
    vendor.drop("k010")
    vendor.tick(5)
    replay = syncing.run(job, kind="replay")
    assert (replay.status, replay.created) == ("success", 1)
    assert syncing.letters(job) == []
    assert {one.resolution for one in syncing.letters(job, "resolved")} == {"synced", "deleted"}
    assert syncing.state() == vendor.state()


def test_too_many_deletes_wait_for_somebodys_word(syncing: Syncing) -> None:
    vendor = syncing.vendor
    _fill(syncing, 40)
    job = syncing.job()
    syncing.run(job)
    for number in range(30):
        vendor.drop(f"k{number:03}")
    vendor.put("k035", Name="flows on")
    vendor.tick(5)
    run = syncing.run(job)
    assert (run.status, run.deleted, run.updated) == ("partial", 0, 1)
    error = syncing.again(job).error
    assert isinstance(error, dict)
    assert error["code"] == "sync.delete_brake"
    assert error["count"] == 30
    assert len(syncing.state()) == 40
    vendor.tick(5)
    assert syncing.run(job).status == "success"  # what is new goes on meanwhile
    vendor.tick(5)
    allowed = syncing.run(job, allow_deletes=True)
    assert (allowed.status, allowed.deleted) == ("success", 30)
    assert syncing.state() == vendor.state()
    assert syncing.again(job).error is None


@pytest.mark.parametrize("strategy", [DeleteStrategy.SNAPSHOT, DeleteStrategy.FEED])
def test_keys_are_compared_where_no_feed_speaks(syncing: Syncing, strategy: DeleteStrategy) -> None:
    vendor = syncing.vendor
    vendor.deletes = strategy
    _fill(syncing)
    job = syncing.job(snapshot_hours=1)
    syncing.run(job)
    vendor.drop("k001")
    vendor.hides = {"k002"}  # an index that lags: a listing without it proves nothing
    vendor.tick(5)
    vendor.feed_from = vendor.now
    run = syncing.run(job, (START, vendor.now))
    assert run.deleted == 1
    assert syncing.state() == vendor.state()
    vendor.hides, vendor.feed_from = set(), vendor.now + timedelta(hours=1)
    with syncing.owner.transaction() as tx:  # a record that no window ever brought
        tx.run(statement("delete from hubblewave.sync_shadow where key = 'k003'"))
        table, code = (
            f"{syncing.entity.schema}.{syncing.entity.table}",
            syncing.entity.columns["code"],
        )
        tx.run(statement(f"delete from {table} where {code} = 'k003'"))
    vendor.tick(5)
    found = syncing.run(job, (vendor.now - timedelta(seconds=3), vendor.now))
    assert (found.created, found.deleted) == (1, 0)
    assert syncing.state() == vendor.state()


def test_a_record_taken_for_deleted_comes_back_by_its_key(syncing: Syncing) -> None:
    vendor = syncing.vendor
    vendor.deletes = DeleteStrategy.SNAPSHOT
    _fill(syncing)
    job = syncing.job()
    syncing.run(job)
    hidden = vendor.records.pop("k004")  # access lost for a while
    vendor.tick(5)
    assert syncing.run(job, (START, vendor.now)).deleted == 1
    vendor.records["k004"] = hidden
    vendor.tick(5)
    syncing.run(job, (START, vendor.now))
    assert syncing.state() == vendor.state()


def test_marking_keeps_the_record_and_says_when_it_went(syncing: Syncing) -> None:
    vendor = syncing.vendor
    _fill(syncing)
    job = syncing.job(delete_policy="mark", delete_field="gone")
    syncing.run(job)
    vendor.drop("k001")
    at = vendor.now
    vendor.tick(5)
    syncing.run(job)
    gone = {row["code"]: row["gone"] for row in syncing.rows()}
    assert gone["k001"] == at
    assert gone["k002"] is None
    vendor.put("k001", Name="back")
    vendor.tick(5)
    syncing.run(job)
    back = {row["code"]: row for row in syncing.rows()}["k001"]
    assert (back["name"], back["gone"]) == ("back", None)


def test_an_ignored_filter_is_noticed_and_nothing_of_it_used(syncing: Syncing) -> None:
    _fill(syncing)
    job = syncing.job()
    syncing.vendor.ignores_filter = True
    with pytest.raises(FilterIgnored, match="ignored the filter or reads it in another time zone"):
        syncing.run(job, (START + timedelta(seconds=5), START + timedelta(seconds=8)))
    assert syncing.state() == {}
    assert syncing.again(job).coverage == ()


def test_backfills_fill_coverage_and_leave_the_mark(syncing: Syncing) -> None:
    vendor = syncing.vendor
    _fill(syncing)
    job = syncing.job(start_date=START + timedelta(seconds=4))
    syncing.run(job)
    mark = syncing.again(job).mark
    assert sorted(syncing.state()) == [f"k{n:03}" for n in range(4, 10)]
    syncing.run(job, (START, START + timedelta(seconds=2)))
    assert syncing.again(job).mark == mark
    assert [low for low, _ in syncing.again(job).coverage] == [START, START + timedelta(seconds=4)]
    assert sorted(syncing.state())[:2] == ["k000", "k001"]
    clipped = syncing.run(job, (vendor.now - timedelta(seconds=3), vendor.now + timedelta(hours=1)))
    assert clipped.status == "success"
    assert clipped.notes[0]["code"] == "window.clipped"  # type: ignore[index, call-overload]


def test_a_streams_new_form_is_reviewed_and_resets_nothing(syncing: Syncing) -> None:
    vendor = syncing.vendor
    _fill(syncing)
    job = syncing.job()
    syncing.run(job)
    vendor.fields = (*vendor.fields, "Extra")
    vendor.tick(5)
    assert syncing.run(job).status == "success"
    vendor.fields = tuple(name for name in vendor.fields if name != "Amount")
    vendor.tick(5)
    with pytest.raises(SyncFailed, match="Deal has no Amount any more"):
        syncing.run(job)
    with syncing.worker.transaction(syncing.tenant.id) as tx:
        drifts = tx.all(syncing_drifts(syncing, job.id))
    assert drifts == [("Extra", "added", False), ("Amount", "removed", True)]
    assert syncing.again(job).mark is not None
    assert len(syncing.state()) == 10


def syncing_drifts(syncing: Syncing, job_id: object):  # type: ignore[no-untyped-def]
    return statement(
        "select field, change, mapped from hubblewave.sync_drifts"
        " where tenant_id = %s and job_id = %s and status = 'open' order by id",
        (syncing.tenant.id, job_id),
        lambda row: (row[0], row[1], row[2]),
    )


def test_records_that_are_here_already_are_adopted_once(syncing: Syncing) -> None:
    _fill(syncing, 3)
    first = syncing.job()
    syncing.run(first)
    ids = {row["code"]: row["id"] for row in syncing.rows()}
    syncing.vendor.put("k000", Name="second look")
    syncing.vendor.tick()
    second = syncing.job(match_field="code")
    run = syncing.run(second)
    assert (run.created, run.updated, run.failed) == (0, 1, 0)
    assert {row["code"]: row["id"] for row in syncing.rows()} == ids
    unmatched = syncing.job()
    refused = syncing.run(unmatched)
    assert (refused.created, refused.failed) == (0, 3)
    assert {one.code for one in syncing.letters(unmatched)} == {"unique"}


def test_reset_has_two_switches(syncing: Syncing) -> None:
    _fill(syncing)
    job = syncing.job()
    syncing.run(job)
    with syncing.owner.transaction() as tx:
        entity = syncing.entity
        column = entity.columns["name"]
        tx.run(statement(f"update {entity.schema}.{entity.table} set {column} = 'changed here'"))
    for state, cache, expected in ((True, False, 0), (True, True, 10)):
        with syncing.worker.transaction(syncing.tenant.id) as tx:
            for step in sync_jobs.reset_steps(syncing.tenant.id, job.id, state=state, cache=cache):
                tx.run(step)
        syncing.vendor.tick()
        run = syncing.run(job)
        assert (run.created, run.updated) == (0, expected)
    assert syncing.state() == syncing.vendor.state()


def test_a_mapping_that_changed_writes_what_it_now_makes(syncing: Syncing) -> None:
    _fill(syncing, 4)
    job = syncing.job()
    syncing.run(job)
    mapping = [*MAPPING[:1], {**MAPPING[1], "transform": "upper"}, MAPPING[2]]
    with syncing.worker.transaction(syncing.tenant.id) as tx:
        tx.one(sync_jobs.update_job(syncing.tenant.id, job.id, {"field_mapping": mapping}))
    run = syncing.run(job, (START, syncing.vendor.now))
    assert run.updated == 4
    assert syncing.state()["k001"] == "DEAL 1"


def test_history_and_events_say_which_run_wrote(syncing: Syncing) -> None:
    _fill(syncing, 2)
    job = syncing.job()
    run = syncing.run(job)
    with syncing.owner.transaction() as tx:
        actors = tx.all(
            statement(
                f"select distinct created_by from {syncing.entity.schema}.{syncing.entity.table}"
            )
        )
        events = tx.all(
            statement("select type, data::json ->> 'recordsSuccess' from hubblewave.events")
        )
    assert actors == [(run.id,)]
    assert events == [("sync.completed", "2")]


def test_a_job_that_goes_takes_what_was_known_with_it(syncing: Syncing) -> None:
    """Also what a page wrote while the removal waited for its commit."""
    _fill(syncing)
    job, other = syncing.job(), syncing.job(match_field="code")
    syncing.run(job)
    syncing.run(other)
    tenant_id = syncing.tenant.id

    def known() -> dict[object, int]:
        with syncing.owner.transaction() as tx:
            found = tx.all(
                statement("select job_id, count(*) from hubblewave.sync_shadow group by job_id")
            )
        return dict(found)

    assert known() == {job.id: 10, other.id: 10}

    def remove() -> None:
        with syncing.worker.transaction(tenant_id) as tx:
            assert tx.one(sync_jobs.remove_job(tenant_id, job.id)) is not None

    def waits() -> bool:
        with syncing.owner.transaction() as tx:
            return bool(
                tx.all(
                    statement(
                        "select from pg_stat_activity where datname = current_database()"
                        " and wait_event_type = 'Lock'"
                    )
                )
            )

    with ThreadPoolExecutor(1) as pool:
        with syncing.worker.transaction(tenant_id) as tx:
            assert tx.one(sync_jobs.hold_job(tenant_id, job.id)) is not None
            removal = pool.submit(remove)
            eventually(waits, "the removal waits for the page")
            learn(tx, job, uuid.uuid4(), [Learned("late", None, START, None)])
        removal.result(60)
    assert known() == {other.id: 10}

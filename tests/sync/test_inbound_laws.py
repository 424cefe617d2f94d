"""The laws of the inbound engine, for any history of the other system and any accident here.

I1: what is older than the mark is here or was replaced. I2: coverage has no gap up to the mark.
I3: rows and the place to read on from commit together. I8: reading any window again changes nothing.
"""

from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from hubblewave_pipelines.core.stream import DeleteStrategy
from hubblewave_pipelines.storage import physical
from hubblewave_pipelines.storage.database import statement
from hubblewave_pipelines.storage.sync_jobs import SyncJob
from tests.sync.conftest import Syncing
from tests.sync.fake_vendor import START, FakeVendor, Killed

KEYS = st.integers(0, 11).map(lambda n: f"k{n:02}")
EVENTS = st.one_of(
    st.tuples(st.just("put"), KEYS, st.sampled_from([0, 0, 0, 3, 20])),
    st.tuples(st.just("drop"), KEYS),
    st.tuples(st.just("tick"), st.sampled_from([0, 1, 5, 40])),
    st.tuples(st.just("back"), st.sampled_from([1, 3])),
)
STEPS = st.one_of(
    EVENTS,
    st.tuples(st.just("run")),
    st.tuples(st.just("run"), st.integers(1, 9), EVENTS),  # something happens at request n
    st.tuples(st.just("kill"), st.integers(1, 9), st.sampled_from(["request", "answer", "commit"])),
    st.tuples(st.just("window"), st.integers(-5, 60), st.integers(1, 60)),
    st.tuples(st.just("cut window"), st.integers(-5, 60), st.integers(1, 60), st.integers(1, 9)),
)


class _World:
    def __init__(self, syncing: Syncing, strategy: DeleteStrategy) -> None:
        self.syncing = syncing
        self.vendor = syncing.vendor = FakeVendor(deletes=strategy)
        self.job: SyncJob = syncing.job(brake_percent=100.0, snapshot_hours=1_000_000)
        self.count = 0

    def event(self, event: tuple) -> None:  # type: ignore[type-arg]
        vendor = self.vendor
        match event:
            case ("put", key, late):
                versions = vendor.records.get(key, [])
                if versions and versions[-1].visible > vendor.now:
                    return  # locked by the transaction that writes it
                if versions and versions[-1].stamp > vendor.now:
                    return  # systems never stamp an edit before the last one
                if any(k == key and at >= vendor.now for k, at in vendor.gone):
                    vendor.tick()
                self.count += 1
                vendor.put(key, late=late, Name=f"v{self.count}", Amount=str(self.count))
            case ("drop", key):
                versions = vendor.records.get(key, [])
                if versions and versions[-1].visible <= vendor.now >= versions[-1].stamp:
                    vendor.drop(key)
            case ("tick", seconds):
                vendor.tick(seconds)
            case ("back", seconds):  # the system's clock is set back, and it stamps by it
                if vendor.requests == 0:  # no mark to outrun yet: a safe mark is safe
                    vendor.tick(-seconds)

    def run(self, window: tuple[datetime, datetime] | None = None) -> None:
        run_id = self.syncing.ask(self.job, window)
        for _ in range(12):
            try:
                self.syncing.execute(run_id)
            except Killed:
                self.vendor.before = self.vendor.after = None
                continue
            return
        raise AssertionError("a run that is tried again and again ends")

    def killed(self, number: int, where: str) -> None:
        """A run that dies at the n-th request, answer or commit, and another attempt at it."""
        base, commits = self.vendor.requests, 0

        def die(request: int) -> None:
            if request - base == number:
                raise Killed

        def held() -> None:
            nonlocal commits
            commits += 1
            if commits == number:
                raise Killed

        run_id = self.syncing.ask(self.job)
        if where != "commit":
            setattr(self.vendor, "before" if where == "request" else "after", die)
        try:
            self.syncing.execute(run_id, still_held=held if where == "commit" else lambda: None)
        except Killed:
            self.vendor.before = self.vendor.after = None
            self.syncing.execute(run_id)
        self.vendor.before = self.vendor.after = None

    def step(self, step: tuple) -> None:  # type: ignore[type-arg]
        match step:
            case ("run",):
                self.run()
            case ("run", number, event):
                base = self.vendor.requests

                def at(request: int) -> None:
                    if request - base == number:
                        self.event(event)

                self.vendor.before = at
                self.run()
                self.vendor.before = None
            case ("kill", number, where):
                self.killed(number, where)
            case ("window", start, length):
                self.run(_span(start, length))
            case ("cut window", start, length, number):
                base = self.vendor.requests

                def cut(request: int) -> None:
                    if request - base == number:
                        raise Killed

                self.vendor.after = cut
                self.run(_span(start, length))
                self.vendor.after = None
            case _:
                self.event(step)
        self.invariants()

    def invariants(self) -> None:
        job = self.syncing.again(self.job)
        assert self.syncing.gaps(job) == ()  # I2
        if job.mark is None:
            return
        here = self.syncing.state()
        for key, versions in self.vendor.records.items():  # I1
            older = [one for one in versions if one.stamp < job.mark]
            if older:
                assert key in here
                assert here[key] in {one.cells["Name"] for one in versions[len(older) - 1 :]}

    def at_rest(self) -> None:
        self.vendor.tick(10_000)
        self.run()
        if self.vendor.deletes is DeleteStrategy.SNAPSHOT:
            self.run(_span(-5, 10))  # a window asked for compares all keys
        assert self.syncing.state() == self.vendor.state()
        written = self.syncing.written()
        self.run()
        for start in range(-5, 60, 20):  # I8
            self.run(_span(start, 30))
        assert self.syncing.written() == written
        assert self.syncing.state() == self.vendor.state()


def _span(start: int, length: int) -> tuple[datetime, datetime]:
    low = START + timedelta(seconds=start)
    return low, low + timedelta(seconds=length)


def _empty(syncing: Syncing) -> None:
    with syncing.owner.transaction() as tx:
        tx.run(statement("truncate hubblewave.sync_jobs cascade"))
        tx.run(statement(f"truncate {physical.qualified(syncing.entity)} cascade"))


@pytest.mark.parametrize("strategy", [DeleteStrategy.FEED, DeleteStrategy.SNAPSHOT])
@settings(max_examples=10, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(STEPS, min_size=5, max_size=20))
def test_any_history_ends_equal_on_both_sides(
    syncing: Syncing,
    strategy: DeleteStrategy,
    steps: list[tuple],  # type: ignore[type-arg]
) -> None:
    _empty(syncing)
    world = _World(syncing, strategy)
    note(repr(steps))
    for step in steps:
        world.step(step)
    world.at_rest()

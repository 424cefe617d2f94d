"""An external system in memory, with all that makes real ones hard: late commits, ties, edits while it
is read, deletes that a feed forgets, and a connector for it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from hubblewave_pipelines.core.entity import FieldKind, Json
from hubblewave_pipelines.core.stream import (
    CheckReport,
    Deleted,
    DeletePage,
    DeleteStrategy,
    KeyPage,
    Mark,
    Page,
    ReadPlan,
    Slice,
    Stream,
    StreamField,
    Window,
)
from hubblewave_pipelines.storage.sync_jobs import SyncJob

START = datetime(2026, 3, 1, tzinfo=UTC)
FIELDS = ("Id", "Name", "Amount", "Parent", "Modified")


@dataclass(frozen=True)
class Remote:
    cells: dict[str, str | None]
    stamp: datetime
    visible: datetime  # when its transaction commits


class Killed(BaseException):
    """The process is gone."""


@dataclass
class FakeVendor:
    now: datetime = START
    page_size: int = 3
    deletes: DeleteStrategy = DeleteStrategy.FEED
    records: dict[str, list[Remote]] = field(default_factory=dict)  # versions, oldest first
    gone: list[tuple[str, datetime]] = field(default_factory=list)
    feed_from: datetime | None = None  # the feed forgot what is older
    fields: tuple[str, ...] = FIELDS
    ignores_filter: bool = False
    hides: set[str] = field(default_factory=set)  # keys that listings leave out
    requests: int = 0
    least: int = 0
    before: Callable[[int], None] | None = None
    after: Callable[[int], None] | None = None

    def tick(self, seconds: float = 1) -> datetime:
        self.now += timedelta(seconds=seconds)
        return self.now

    def put(self, key: str, *, late: float = 0, **cells: str | None) -> None:
        """Create or edit; `late`: the stamp is from now, and others see it that much later."""
        known = self.records.get(key, [])
        whole = (
            dict.fromkeys(("Name", "Amount", "Parent")) | (known[-1].cells if known else {}) | cells
        )
        stamp = self.now
        self.records.setdefault(key, []).append(
            Remote(whole, stamp, stamp + timedelta(seconds=late))
        )

    def drop(self, key: str) -> None:
        del self.records[key]
        self.gone.append((key, self.now))

    def seen(self) -> dict[str, Remote]:
        """What anybody sees of each record now."""
        found = {}
        for key, versions in self.records.items():
            visible = [one for one in versions if one.visible <= self.now]
            if visible:
                found[key] = visible[-1]
        return found

    def behind(self, after: str, window: Window) -> list[tuple[str, Remote]]:
        """At least a page and one more of what a window holds behind a key, in the order of keys."""
        return sorted(
            (key, one)
            for key, one in self.seen().items()
            if key > after and (self.ignores_filter or _within(one.stamp, window))
        )

    def state(self) -> dict[str, str | None]:
        return {key: one.cells["Name"] for key, one in self.seen().items()}

    def request(self) -> None:
        self.requests += 1
        if self.before is not None:
            self.before(self.requests)

    def answered(self) -> None:
        if self.after is not None:
            self.after(self.requests)


def _text(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class FakeConnector:
    def __init__(self, vendor: FakeVendor) -> None:
        self.vendor = vendor

    def check(self) -> CheckReport:
        return CheckReport(())

    def discover(self) -> Sequence[Stream]:
        return [self._stream()]

    def _stream(self) -> Stream:
        kinds = {"Amount": FieldKind.DECIMAL, "Modified": FieldKind.DATETIME}
        found = tuple(
            StreamField(name, kinds.get(name, FieldKind.TEXT)) for name in self.vendor.fields
        )
        return Stream("Deal", "Id", found, cursor="Modified", deletes=self.vendor.deletes)

    def describe(self, stream: str) -> Stream:
        self.vendor.request()
        self.vendor.answered()
        return self._stream()

    def safe_mark(self, stream: Stream) -> Mark:
        self.vendor.request()
        open_ = [
            one.stamp
            for versions in self.vendor.records.values()
            for one in versions
            if one.visible > self.vendor.now
        ]
        at = min([self.vendor.now, *open_])
        self.vendor.answered()
        return Mark(at, "oldest open transaction", timedelta(seconds=2))

    def plan(
        self, stream: Stream, fields: Sequence[str], window: Window, *, filter: str | None = None
    ) -> ReadPlan:
        return ReadPlan(stream, tuple(fields), (Slice(window, 1),), filter)

    def read(self, plan: ReadPlan, part: Slice, position: Json | None) -> Iterator[Page]:
        vendor, window = self.vendor, part.window
        after = position if isinstance(position, str) else ""
        while True:
            vendor.request()
            found = vendor.behind(after, window)
            page, more = found[: vendor.page_size], len(found) > vendor.page_size
            cells = [{"Id": k, "Modified": _text(o.stamp), **o.cells} for k, o in page]
            columns = {name: [one.get(name) for one in cells] for name in plan.fields}
            vendor.answered()
            after = page[-1][0] if page else after
            yield Page(columns, after if more else None, len(page))
            if not more:
                return

    def deletes(
        self, stream: Stream, window: Window, position: Json | None
    ) -> Iterator[DeletePage]:
        vendor = self.vendor
        vendor.request()
        covered = vendor.feed_from is None or (
            window.low is not None and window.low >= vendor.feed_from
        )
        found = tuple(Deleted(k, at) for k, at in vendor.gone if _within(at, window))
        vendor.answered()
        yield DeletePage(found if covered else (), None, covered)

    def keys(
        self, stream: Stream, position: Json | None, *, filter: str | None = None
    ) -> Iterator[KeyPage]:
        vendor = self.vendor
        after = position if isinstance(position, str) else ""
        while True:
            vendor.request()
            found = sorted(k for k in vendor.seen() if k > after and k not in vendor.hides)
            page, more = found[: vendor.page_size], len(found) > vendor.page_size
            vendor.answered()
            after = page[-1] if page else after
            yield KeyPage(tuple(page), after if more else None)
            if not more:
                return

    def count(self, stream: Stream, window: Window, *, filter: str | None = None) -> int | None:
        self.vendor.request()
        found = sum(_within(one.stamp, window) for one in self.vendor.seen().values())
        self.vendor.answered()
        return found

    def fetch(self, stream: Stream, fields: Sequence[str], keys: Sequence[str]) -> Page:
        vendor = self.vendor
        vendor.request()
        seen = vendor.seen()
        cells = [
            {"Id": k, "Modified": _text(seen[k].stamp), **seen[k].cells} for k in keys if k in seen
        ]
        vendor.answered()
        return Page({name: [one.get(name) for one in cells] for name in fields}, None, len(cells))


def _within(at: datetime, window: Window) -> bool:
    return (window.low is None or at >= window.low) and (window.high is None or at < window.high)


@dataclass(frozen=True)
class FakeOpened:
    connector: FakeConnector
    vendor: FakeVendor
    base: int

    @property
    def requests(self) -> int:
        return self.vendor.requests - self.base


@contextmanager
def opened(vendor: FakeVendor, _job: SyncJob) -> Iterator[FakeOpened]:
    yield FakeOpened(FakeConnector(vendor), vendor, vendor.requests)

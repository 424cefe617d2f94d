"""A vendor's data: tables of records that change while they are read, and the log of every change."""

import heapq
import itertools
import threading
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hubblewave_pipelines.sandboxes.clock import Clock

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """What happened to a record. `at` is its stamp, `seen` when readers could see it first."""

    number: int
    at: datetime
    seen: datetime
    table: str
    key: str
    what: str  # created, updated, deleted
    fields: tuple[str, ...] = ()


class Table:
    """Records by key. `rows` is what a strong read sees; searches may lag behind it.

    `order` turns a key into what it sorts by, as the vendor's own collation does.
    """

    def __init__(self, name: str, key: str, order: Callable[[str], Any] = str) -> None:
        self.name = name
        self.key = key
        self.rows: dict[str, Row] = {}
        self.lagging: dict[str, Row | None] = {}  # what searches still see of newer records
        self._order = order
        self._keys: list[str] = []

    def keys(self, after: str | None = None, before: str | None = None) -> list[str]:
        """Keys of `rows` in order, those past `after` and below `before`."""
        start = (
            0 if after is None else bisect_right(self._keys, self._order(after), key=self._order)
        )
        end = (
            len(self._keys)
            if before is None
            else bisect_left(self._keys, self._order(before), key=self._order)
        )
        return self._keys[start:end]

    def indexed(self) -> Iterator[Row]:
        """Records as searches see them, in the order of their keys."""
        if not self.lagging:
            yield from (self.rows[key] for key in self._keys)
            return
        gone = [key for key in self.lagging if key not in self.rows]
        for key in sorted([*self._keys, *gone], key=self._order):
            row = self.lagging[key] if key in self.lagging else self.rows[key]
            if row is not None:
                yield row

    def load(self, rows: Mapping[str, Row]) -> None:
        """Put many records at once, without a change of any."""
        self.rows.update(rows)
        self._keys = sorted(self.rows, key=self._order)

    def _put(self, key: str, row: Row) -> None:
        if key not in self.rows:
            insort(self._keys, key, key=self._order)
        self.rows[key] = row

    def _drop(self, key: str) -> None:
        if self.rows.pop(key, None) is not None:
            del self._keys[bisect_left(self._keys, self._order(key), key=self._order)]


class Stage:
    """The tables of a sandbox, its clock, and what changed in which order.

    Whoever reads several records, or reads and writes, holds `lock`: tests and control requests
    write from other threads.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.lock = threading.RLock()
        self.tables: dict[str, Table] = {}
        self.changes: list[Change] = []
        self._due: list[tuple[datetime, int, Callable[[], None]]] = []
        self._tickets = itertools.count()

    def add(self, table: Table) -> Table:
        self.tables[table.name] = table
        return table

    def put(
        self,
        table: str,
        row: Row,
        *,
        at: datetime,
        committed: datetime | None = None,
        indexed: datetime | None = None,
    ) -> None:
        """Store a record stamped `at`. Nobody sees it before `committed`, searches not before
        `indexed` (None: at once, and as soon as it is committed).
        """
        with self.lock:
            key = str(row[self.tables[table].key])
            self._when(committed, lambda: self._write(table, key, row, at, indexed))

    def drop(
        self,
        table: str,
        key: str,
        *,
        at: datetime,
        committed: datetime | None = None,
        indexed: datetime | None = None,
    ) -> None:
        """Remove a record, as `put` stores one."""
        with self.lock:
            self._when(committed, lambda: self._write(table, key, None, at, indexed))

    def settle(self) -> None:
        """Let everything that is due by the clock happen. Called before each request."""
        with self.lock:
            now = self.clock.now()
            while self._due and self._due[0][0] <= now:
                heapq.heappop(self._due)[2]()

    @property
    def pending(self) -> int:
        """How many writes and index entries are on their way."""
        return len(self._due)

    def _when(self, instant: datetime | None, act: Callable[[], None]) -> None:
        if instant is None or instant <= self.clock.now():
            act()
        else:
            heapq.heappush(self._due, (instant, next(self._tickets), act))

    def _write(
        self, name: str, key: str, row: Row | None, at: datetime, indexed: datetime | None
    ) -> None:
        table = self.tables[name]
        old = table.rows.get(key)
        if row is None and old is None:
            return
        now = self.clock.now()
        if indexed is not None and indexed > now:
            table.lagging.setdefault(key, old)
            self._when(indexed, lambda: self._index(table, key, row))
        elif key in table.lagging:
            del table.lagging[key]
        what, fields = "deleted", tuple[str, ...]()
        if row is None:
            table._drop(key)
        else:
            table._put(key, row)
            what = "created" if old is None else "updated"
            fields = tuple(n for n in row if old is None or old.get(n) != row[n])
        self.changes.append(
            Change(len(self.changes) + 1, at, max(at, now), name, key, what, fields)
        )

    def _index(self, table: Table, key: str, row: Row | None) -> None:
        """A search sees `row` from now on, unless a newer one is still on its way."""
        if key not in table.lagging:
            return
        if table.rows.get(key) is row:
            del table.lagging[key]
        else:
            table.lagging[key] = row

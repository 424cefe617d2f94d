"""Streams of external systems: what a connector can read, in which windows and pages, and what it tells of them.

Pure data between connectors, which fill them, and the sync engine, which stores them. Instants are
aware datetimes in UTC, by the external system's clock. Cells are text in one canonical form per
kind, so that mappings, transforms and validation are those of imports:

- boolean `true`/`false`; integer, number and decimal as plain digits, never through a float;
- date `YYYY-MM-DD`; datetime ISO 8601 in UTC ending in `Z`; json as JSON text; everything else as is;
- None where the system says null. A field that a page does not carry at all is not among its columns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType

from hubblewave_pipelines.core.entity import FieldKind, Json


class DeleteStrategy(StrEnum):
    """How deletes in the external system become known."""

    FEED = "feed"  # the system tells which records went, for a window
    SNAPSHOT = "snapshot"  # all keys are listed, and what is missing is gone
    NONE = "none"


class CompareAndSet(StrEnum):
    """How a write can be refused when somebody else wrote meanwhile."""

    ETAG = "etag"
    UNMODIFIED_SINCE = "unmodified_since"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class StreamField:
    """One field of a stream, as the external system describes it."""

    name: str
    kind: FieldKind
    label: str = ""
    nullable: bool = True
    creatable: bool = False
    updatable: bool = False
    computed: bool = False  # changes without moving the cursor (a formula): re-read on a schedule
    external_id: bool = False  # records can be upserted by it
    unique: bool = False
    max_length: int | None = None
    scale: int | None = None
    choices: tuple[str, ...] = ()
    refers_to: tuple[str, ...] = ()  # streams whose keys it holds


@dataclass(frozen=True, slots=True)
class Stream:
    """What can be kept in step: an sObject, an issue type, a table, an entity set."""

    name: str
    key: str  # the field that names a record, for ever
    fields: tuple[StreamField, ...]
    label: str = ""
    cursor: str | None = None  # the field that moves on every change; None: only whole reads
    cursor_granularity: timedelta = timedelta(seconds=1)
    deletes: DeleteStrategy = DeleteStrategy.NONE
    creatable: bool = False
    updatable: bool = False
    deletable: bool = False
    compare_and_set: CompareAndSet = CompareAndSet.NONE
    notes: tuple[str, ...] = ()  # what an admin must know, in full sentences

    def field(self, name: str) -> StreamField | None:
        return next((found for found in self.fields if found.name == name), None)


@dataclass(frozen=True, slots=True)
class Window:
    """What changed in `[low, high)` by the cursor. None for `low`: since ever; for both: everything.

    `token` is for systems with a change feed of their own: what the last page of the last live read
    gave as its token, `{}` before the first; None where no tokens are kept. A plan may read from
    there instead of from `low`; its slices then have no bounds, and its pages may tell of deletes.
    """

    low: datetime | None = None
    high: datetime | None = None
    token: Json | None = None


@dataclass(frozen=True, slots=True)
class Slice:
    """One closed part of a window, read page by page. `params` is the connector's own, plain JSON."""

    window: Window
    min_requests: int  # the least that reading it can take, as far as is known before
    params: Mapping[str, Json] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """How a window is read. The stream's field names, key and cursor always included."""

    stream: Stream
    fields: tuple[str, ...]
    slices: tuple[Slice, ...]
    filter: str | None = None  # in the system's own query language, given by the job


@dataclass(frozen=True, slots=True)
class Page:
    """Records of one answer. Every column has one cell per record; `key` and `cursor` are among them.

    `position` (plain JSON) continues after this page, in another process and on another day as long
    as the system allows; None after the last page. `min_requests` is what this page would have cost
    a perfect client, usually 1. `token` and `deleted`: see `Window.token`; the first comes with the
    last page only.
    """

    columns: Mapping[str, Sequence[str | None]]
    position: Json | None
    rows: int
    min_requests: int = 1
    token: Json | None = None
    deleted: "tuple[Deleted, ...]" = ()


@dataclass(frozen=True, slots=True)
class Deleted:
    """A record that is gone: its key, and when it went, where the system tells."""

    key: str
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class DeletePage:
    """Deletes of a window. `covered` is false when the feed cannot speak for the whole window
    (purged, retention): the engine then lists all keys instead.
    """

    deleted: tuple[Deleted, ...]
    position: Json | None
    covered: bool = True
    min_requests: int = 1


@dataclass(frozen=True, slots=True)
class KeyPage:
    keys: tuple[str, ...]
    position: Json | None
    min_requests: int = 1


@dataclass(frozen=True, slots=True)
class Mark:
    """The newest instant before which nothing can still appear, and how that is known."""

    at: datetime
    source: str  # for people: "latestDateCovered", "server time less 60 s"
    overlap: timedelta = timedelta(0)  # how much of what was read before is to be read again


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check looked at: what was found and what an admin can do about it."""

    what: str  # reachable, identity, permissions, clock, time_zone, quota, engine, ...
    level: Level
    detail: str


@dataclass(frozen=True, slots=True)
class CheckReport:
    findings: tuple[Finding, ...]
    clock_skew: timedelta | None = None  # the system's clock less ours
    time_zone: str | None = None

    @property
    def level(self) -> Level:
        order = list(Level)
        return max((found.level for found in self.findings), key=order.index, default=Level.OK)


@dataclass(frozen=True, slots=True)
class ConnectorType:
    """What `GET /api/v1/connectors/types` says of a vendor.

    `config` and `credentials` are JSON Schemas (2020-12) of what a connector of this type is
    configured with; members of `credentials` are never shown again.
    """

    name: str
    title: str
    config: Mapping[str, Json]
    credentials: Mapping[str, Json]
    capabilities: Mapping[str, Json]

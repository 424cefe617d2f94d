"""The connector to ServiceNow: the protocol's calls, each a few requests to the Table API."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from hubblewave_pipelines.connectors.servicenow import encoded
from hubblewave_pipelines.connectors.servicenow.catalog import KEY, SAMPLE, Catalog, under
from hubblewave_pipelines.connectors.servicenow.checking import check
from hubblewave_pipelines.connectors.servicenow.config import Config
from hubblewave_pipelines.connectors.servicenow.table_api import Row, TableApi
from hubblewave_pipelines.connectors.servicenow.values import column
from hubblewave_pipelines.connectors.servicenow.walking import Place, walk
from hubblewave_pipelines.core.entity import Json
from hubblewave_pipelines.core.errors import FilterIgnored, PartialAnswer
from hubblewave_pipelines.core.stream import (
    CheckReport,
    Deleted,
    DeletePage,
    KeyPage,
    Mark,
    Page,
    ReadPlan,
    Slice,
    Stream,
    Window,
)
from hubblewave_pipelines.outbound.session import Session

_KEYS = 10_000  # keys on one page
_TRIES = 3  # a record may change while it is looked for
_NAMED = 200  # keys in one query, which is part of a URL


class ServiceNowConnector:
    def __init__(self, config: Config, session: Session) -> None:
        self._config = config
        self._api = TableApi(session)
        self._catalog = Catalog(self._api)

    def check(self) -> CheckReport:
        return check(self._api)

    def discover(self) -> Sequence[Stream]:
        return self._catalog.streams()

    def describe(self, stream: str) -> Stream:
        return self._catalog.describe(stream)

    def safe_mark(self, stream: Stream) -> Mark:
        """The instance's clock less the commit lag. A transaction may commit rows stamped before that
        for as long as it may run, which is what the overlap is for.
        """
        now = self._now(stream)
        lag = self._config.commit_lag
        return Mark(
            (now - lag).replace(microsecond=0),
            f"instance time less {lag.total_seconds():.0f} s",
            self._config.overlap,
        )

    def _now(self, stream: Stream) -> datetime:
        """The instance's clock, told by an answer that proves how it reads literals: a record must be
        found by its own stamp. An account with another time zone than GMT would miss the newest
        records for ever, and no later check could tell.
        """
        cursor = stream.cursor
        if cursor is None:
            return self._api.rows(stream.name, "", (KEY,), 1).at
        for _ in range(_TRIES):
            sample = self._catalog.samples.pop(stream.name, None)
            if sample is None:
                found = self._api.rows(stream.name, "", (KEY, cursor), SAMPLE)
                sample = next((row for row in found.rows if row.get(cursor)), None)
                if sample is None:
                    return found.at
            key, stamp = sample[KEY], sample[cursor]
            same = f"sys_id={encoded.escaped(key)}^{cursor}>={stamp}^{cursor}<={stamp}"
            found = self._api.rows(stream.name, same, (KEY,), 1)
            if found.rows:
                return found.at
        raise FilterIgnored(
            f"{stream.name}: the instance does not find a record by its own {cursor}: it reads"
            " literals in another time zone than it shows stamps in. Set the time zone of the"
            " connector's account to GMT."
        )

    def plan(
        self, stream: Stream, fields: Sequence[str], window: Window, *, filter: str | None = None
    ) -> ReadPlan:
        """Raises FilterIgnored for a filter that the instance would ignore, in part or whole."""
        if filter:
            self._check_filter(stream, filter)
        names = tuple(dict.fromkeys((KEY, *filter_none(stream.cursor), *fields)))
        return ReadPlan(stream, names, (Slice(window, 1),), filter)

    def read(self, plan: ReadPlan, part: Slice, position: Json | None) -> Iterator[Page]:
        stream, window = plan.stream, part.window
        every = [] if stream.cursor is None else encoded.conditions(stream.cursor, window)
        for step in walk(
            self._api,
            stream.name,
            lambda more: encoded.joined(plan.filter, [*every, more], "ORDERBYsys_id"),
            plan.fields,
            _place(position, self._config.page_size),
            stamp=stream.cursor,
            window=window,
        ):
            yield _page(stream, plan.fields, step.rows, step.position)

    def deletes(
        self, stream: Stream, window: Window, position: Json | None
    ) -> Iterator[DeletePage]:
        """From the audit of the table and of those that extend it. What has been restored since is
        left out: each key is looked for once more.
        """
        audit = self._catalog.audit(stream.name)
        family = ",".join(encoded.escaped(name) for name in self._catalog.family(stream.name))
        conditions = [f"tablenameIN{family}", *encoded.conditions("sys_created_on", window)]
        if audit == "sys_audit":
            conditions.insert(0, "fieldname=DELETED")
        for step in walk(
            self._api,
            audit,
            under("^".join(conditions)),
            (KEY, "documentkey", "sys_created_on"),
            _place(position, _KEYS),
            stamp="sys_created_on",
            window=window,
        ):
            gone = {row["documentkey"]: _instant(row["sys_created_on"]) for row in step.rows}
            alive = self._alive(stream, list(gone))
            yield DeletePage(
                tuple(Deleted(key, at) for key, at in gone.items() if key not in alive),
                step.position,
                covered=window.low is not None,
                min_requests=1 + -(-len(gone) // _NAMED),
            )

    def keys(
        self, stream: Stream, position: Json | None, *, filter: str | None = None
    ) -> Iterator[KeyPage]:
        if filter:
            self._check_filter(stream, filter)
        for step in walk(
            self._api,
            stream.name,
            lambda more: encoded.joined(filter, [more], "ORDERBYsys_id"),
            (KEY,),
            _place(position, _KEYS),
        ):
            yield KeyPage(tuple(row[KEY] for row in step.rows), step.position)

    def count(self, stream: Stream, window: Window, *, filter: str | None = None) -> int | None:
        """Counts what ACLs hide from the account, too: more here than arrived means hidden records."""
        every = [] if stream.cursor is None else encoded.conditions(stream.cursor, window)
        return self._api.count(stream.name, encoded.joined(filter, every))

    def fetch(self, stream: Stream, fields: Sequence[str], keys: Sequence[str]) -> Page:
        names = tuple(dict.fromkeys((KEY, *filter_none(stream.cursor), *fields)))
        rows = [
            row
            for start in range(0, len(keys), _NAMED)
            for row in self._named(stream, names, keys[start : start + _NAMED])
        ]
        return _page(stream, names, rows, None, min_requests=-(-len(keys) // _NAMED))

    def _alive(self, stream: Stream, keys: Sequence[str]) -> set[str]:
        return {
            row[KEY]
            for start in range(0, len(keys), _NAMED)
            for row in self._named(stream, (KEY,), keys[start : start + _NAMED])
        }

    def _named(self, stream: Stream, names: Sequence[str], keys: Sequence[str]) -> Sequence[Row]:
        if any("," in key or not key for key in keys):
            raise PartialAnswer(f"{stream.name}: no sys_id is empty or holds a comma.")
        query = f"sys_idIN{','.join(encoded.escaped(key) for key in keys)}"
        rows = self._api.rows(stream.name, query, names, len(keys)).rows
        if not {row[KEY].lower() for row in rows} <= {key.lower() for key in keys}:
            raise FilterIgnored(f"{stream.name}: the instance sent other records than those named.")
        return rows

    def _check_filter(self, stream: Stream, filter: str) -> None:
        """What a filter names must be there: an instance drops a condition on an unknown field, and
        gives every record.
        """
        try:
            names = encoded.fields_of(filter)
        except encoded.Unreadable as error:
            raise FilterIgnored(
                f"The filter of {stream.name} cannot be used: {error}. The instance would ignore it and"
                " give every record."
            ) from error
        unknown = sorted(n for n in names if stream.field(n.split(".")[0]) is None)
        if unknown:
            raise FilterIgnored(
                f"{stream.name} has no field {', '.join(unknown)}: the instance would ignore that part"
                " of the filter and give every record."
            )


def filter_none(*names: str | None) -> tuple[str, ...]:
    return tuple(name for name in names if name is not None)


def _place(position: Json | None, limit: int) -> Place:
    return Place(limit=limit) if position is None else Place(**position)


def _page(
    stream: Stream,
    names: Sequence[str],
    rows: Sequence[Row],
    position: Json | None,
    min_requests: int = 1,
) -> Page:
    columns = {}
    for name in names:
        field = stream.field(name)
        cells = column(name, None if field is None else field.kind, rows)
        if cells is not None:
            columns[name] = cells
    return Page(columns, position, len(rows), min_requests)


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)

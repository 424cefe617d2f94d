"""The SAP connector: entity sets by OData, tables by RFC where an engine is there; plans, marks and counts."""

from collections.abc import Iterator, Sequence
from datetime import timedelta

from hubblewave_pipelines.connectors.sap import checking, streams
from hubblewave_pipelines.connectors.sap.catalog import Services
from hubblewave_pipelines.connectors.sap.config import Config
from hubblewave_pipelines.connectors.sap.edmx import EntitySet
from hubblewave_pipelines.connectors.sap.odata import Service
from hubblewave_pipelines.connectors.sap.reading import Reading
from hubblewave_pipelines.connectors.sap.rfc_streams import PREFIX, Tables
from hubblewave_pipelines.connectors.sap.values import key_values
from hubblewave_pipelines.connectors.sap.windows import check_echo, joined, window_filter
from hubblewave_pipelines.core.entity import Json
from hubblewave_pipelines.core.errors import Unauthorized, UnknownStream, VendorUnavailable
from hubblewave_pipelines.core.stream import (
    CheckReport,
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


class SapConnector:
    """`core.stream` says what each method means; here is what is particular to SAP.

    Streams are named `SERVICE.EntitySet`, tables read by RFC `rfc.TABLE`.
    """

    def __init__(self, config: Config, session: Session) -> None:
        self.config = config
        self.session = session
        self.services = Services(session, config)
        self.tables = Tables(config, lambda: _logon(session))

    def check(self) -> CheckReport:
        return checking.check(self.config, self.services, self.tables)

    def discover(self) -> Sequence[Stream]:
        found = [
            streams.stream_of(name, part, self.config)
            for name, path in sorted(self.services.chosen().items())
            for part in self.services.at(path).metadata.sets.values()
        ]
        return [*found, *self.tables.discover()]

    def describe(self, stream: str) -> Stream:
        if stream.startswith(PREFIX):
            return self.tables.describe(stream)
        _, part = self._found(stream)
        name, _, _ = stream.rpartition(".")
        return streams.stream_of(name, part, self.config)

    def _found(self, stream: str) -> tuple[Service, EntitySet]:
        name, _, set_name = stream.rpartition(".")
        service = self.services.find(name)
        part = service.metadata.sets.get(set_name)
        if part is None:
            raise UnknownStream(f"The service {name!r} has no entity set {set_name!r}.")
        return service, part

    def _reading(self, stream: str, fields: Sequence[str]) -> Reading:
        service, part = self._found(stream)
        change = streams.change_of(part, self.config.cursors.get(stream))
        absent = streams.unknown(part, fields)
        if absent:
            raise UnknownStream(f"The stream {stream!r} has no field {absent[0]!r}.")
        names = streams.field_names(part, change, fields)
        return Reading(service, part, change, names, self.config.page_size)

    def safe_mark(self, stream: Stream) -> Mark:
        """The system's time as it last told it, less the longest a change takes to be committed:
        time stamps are set before the commit.
        """
        if stream.name.startswith(PREFIX):
            return self.tables.mark(stream)
        service, part = self._found(stream.name)
        if service.clock.seen is None:
            service.get("", service.plain())
        told = service.clock.seen
        if told is None:
            raise VendorUnavailable("The system does not tell its time (no Date header).")
        change = streams.change_of(part, self.config.cursors.get(stream.name))
        lag = self.config.commit_lag
        source = f"server time less {lag.total_seconds():.0f} s"
        overlap = max(lag, timedelta(days=1)) if change is not None and change.by_day else lag
        return Mark(told - lag, source, overlap)

    def plan(
        self, stream: Stream, fields: Sequence[str], window: Window, *, filter: str | None = None
    ) -> ReadPlan:
        """One slice: keys give its pages their order, however large it is."""
        if stream.name.startswith(PREFIX):
            return self.tables.plan(stream, fields, window, filter=filter)
        reading = self._reading(stream.name, fields)
        tracked = (
            window.token is not None
            and self.config.delta
            and reading.part.tracks
            and filter is None
        )
        part = Slice(window, 1)
        if tracked:
            token = window.token if isinstance(window.token, dict) else {}
            part = Slice(Window(), 1, {"delta": token.get("delta"), "mode": "delta"})
            if token.get("delta") is None:
                part = Slice(Window(), 1, {"mode": "track"})
        elif not reading.part.keyed:
            part = Slice(window, 1, {"mode": "links"})
        return ReadPlan(stream, tuple(reading.fields), (part,), filter)

    def read(self, plan: ReadPlan, part: Slice, position: Json | None) -> Iterator[Page]:
        if plan.stream.name.startswith(PREFIX):
            return self.tables.read(plan, part, position)
        return self._checked(plan, part, position or {})

    def _checked(self, plan: ReadPlan, part: Slice, position: Json) -> Iterator[Page]:
        reading = self._reading(plan.stream.name, plan.fields)
        for page in self._read(plan, part, position):
            if reading.change is not None:
                cells = page.columns[reading.change.shown]
                check_echo(reading.change, part.window, self.config, cells)
            yield page

    def _read(self, plan: ReadPlan, part: Slice, position: Json) -> Iterator[Page]:
        reading = self._reading(plan.stream.name, plan.fields)
        query = self._query(reading, part.window, plan.filter)
        mode = part.params.get("mode")
        link = position.get("link")
        if mode == "delta" and link is None:
            return reading.from_delta(
                str(part.params["delta"]), lambda: reading.by_links(query, None, track=True)
            )
        if mode is not None:
            return reading.by_links(query, link, track=mode in ("track", "delta"))
        after = position.get("after")
        return reading.by_keys(query, None if after is None else tuple(after))

    def _query(
        self, reading: Reading, window: Window, filter: str | None, *, counting: bool = False
    ) -> str | None:
        own = window_filter(reading.change, window, self.config, reading.version, counting=counting)
        return joined(own, filter).get("$filter")

    def deletes(
        self, stream: Stream, window: Window, position: Json | None
    ) -> Iterator[DeletePage]:
        """There is no feed by time: tombstones come with the pages of a delta, and else all keys
        are compared.
        """
        yield DeletePage((), None, covered=False, min_requests=0)

    def keys(
        self, stream: Stream, position: Json | None, *, filter: str | None = None
    ) -> Iterator[KeyPage]:
        after = None if position is None else tuple(position["after"])
        if stream.name.startswith(PREFIX):
            return self.tables.keys(stream, after, filter=filter)
        return self._reading(stream.name, ()).all_keys(filter, after)

    def count(self, stream: Stream, window: Window, *, filter: str | None = None) -> int | None:
        if stream.name.startswith(PREFIX):
            return None  # RFC_READ_TABLE does not count
        reading = self._reading(stream.name, ())
        if not reading.part.countable:
            return None
        options = joined(self._query(reading, window, filter, counting=True))
        return reading.service.count(reading.part.name, options)

    def fetch(self, stream: Stream, fields: Sequence[str], keys: Sequence[str]) -> Page:
        if stream.name.startswith(PREFIX):
            return self.tables.fetch(stream, fields, keys)
        reading = self._reading(stream.name, fields)
        return reading.records([key_values(key, reading.part.keys) for key in keys])


def _logon(session: Session) -> dict[str, str]:
    """The basic credentials as RFC names them. Raises Unauthorized where others are given."""
    user, password = session.credential("username"), session.credential("password")
    if user is None or password is None:
        raise Unauthorized("RFC needs credentials of kind basic: a user and its password.")
    return {"user": user, "passwd": password}

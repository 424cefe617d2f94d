"""Tables read by RFC as streams: `rfc.NAME` of each table that the configuration names."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from hubblewave_pipelines.connectors.sap.config import Config
from hubblewave_pipelines.connectors.sap.rfc_cells import Column, both
from hubblewave_pipelines.connectors.sap.rfc_connection import Rfc
from hubblewave_pipelines.connectors.sap.rfc_engine import Engine, resolve
from hubblewave_pipelines.connectors.sap.rfc_table import Key, TableReader
from hubblewave_pipelines.connectors.sap.streams import KEY
from hubblewave_pipelines.connectors.sap.values import join_key, key_values
from hubblewave_pipelines.core.entity import FieldKind, Json
from hubblewave_pipelines.core.errors import (
    PlatformError,
    UnknownStream,
    VendorRefused,
    VendorUnavailable,
)
from hubblewave_pipelines.core.stream import (
    DeleteStrategy,
    Finding,
    KeyPage,
    Level,
    Mark,
    Page,
    ReadPlan,
    Slice,
    Stream,
    StreamField,
    Window,
)

PREFIX = "rfc."
_TIME = re.compile(r"Date:\s*(\d{8})\s+Time:\s*(\d{6})")
_DAY = timedelta(days=1)
_NOTE = (
    "It is read by RFC, whose calls are no HTTP requests and are not among those counted. "
    "RFC_READ_TABLE is not released by SAP for use by others (see SAP Note 382318)."
)


class Tables:
    """The tables of one connection. The engine is looked for when it is first needed."""

    def __init__(self, config: Config, logon: Callable[[], Mapping[str, str]]) -> None:
        self.config = config
        self._logon = logon
        self._engine: Engine | None = None
        self._rfc: Rfc | None = None
        self._readers: dict[str, TableReader] = {}

    @property
    def engine(self) -> Engine:
        if self._engine is None:
            self._engine = resolve()
        return self._engine

    @property
    def rfc(self) -> Rfc:
        """Raises VendorRefused when there is no engine, or nothing to connect to."""
        if self._rfc is None:
            engine = self.engine
            if engine.module is None:
                raise VendorRefused(
                    f"RFC is not to be had on this machine: {engine.reason} Install pyrfcx and SAP's"
                    " NW RFC SDK, or read the data by an OData service."
                )
            if not self.config.rfc:
                raise VendorRefused("The connector has no `rfc` parameters (ashost, sysnr, ...).")
            parameters = {
                **({"client": self.config.client} if self.config.client else {}),
                "lang": self.config.language,
                **self.config.rfc,
            }
            self._rfc = Rfc(engine.module, parameters, self._logon)
        return self._rfc

    def _reader(self, stream: str) -> TableReader:
        name = stream.removeprefix(PREFIX)
        if name not in (table.name for table in self.config.tables):
            raise UnknownStream(f"The connector's `tables` do not name {name!r}.")
        if name not in self._readers:
            self._readers[name] = TableReader(self.rfc, name, self.config.read_table)
        return self._readers[name]

    def _version(self, reader: TableReader) -> Column | None:
        named = next(table.cursor for table in self.config.tables if table.name == reader.name)
        return None if named is None else reader.column(named)

    # -- what there is ---------------------------------------------------------------------------

    def check(self) -> list[Finding]:
        """Which engine is active and why, and whether it reaches the system where it should."""
        engine = self.engine
        if not self.config.rfc:
            detail = f"OData only: no `rfc` parameters are given. RFC engine: {engine.reason}"
            return [Finding("engine", Level.OK, detail)]
        if engine.module is None:
            detail = (
                f"OData only: {engine.reason} The tables named cannot be read until an engine and"
                " SAP's NW RFC SDK are there."
            )
            return [Finding("engine", Level.ERROR if self.config.tables else Level.WARNING, detail)]
        try:
            self.rfc.ping()
        except PlatformError as error:
            return [Finding("engine", Level.ERROR, f"RFC by {engine.name}: {error.detail}")]
        found = [Finding("engine", Level.OK, f"OData, and RFC by {engine.name}: {engine.reason}")]
        for table in self.config.tables:
            try:
                columns = len(self._reader(PREFIX + table.name).columns)
                found.append(Finding("tables", Level.OK, f"{table.name}: {columns} columns."))
            except PlatformError as error:
                found.append(Finding("tables", Level.ERROR, error.detail))
        return found

    def discover(self) -> list[Stream]:
        if self.engine.module is None or not self.config.rfc:
            return []
        return [self.describe(PREFIX + table.name) for table in self.config.tables]

    def describe(self, stream: str) -> Stream:
        reader = self._reader(stream)
        version = self._version(reader)
        fields = [
            StreamField(
                column.name,
                column.kind,
                column.label,
                nullable=column.type in ("D", "T"),
                unique=column.key and len(reader.keys) == 1,
                max_length=column.width if column.kind is FieldKind.TEXT else None,
                scale=column.decimals or None,
            )
            for column in self._shown(reader, version)
        ]
        composite = len(reader.keys) > 1
        if composite:
            fields.append(StreamField(KEY, FieldKind.TEXT, "Key", nullable=False, unique=True))
        by_day = version is not None and version.kind is FieldKind.DATE
        return Stream(
            stream,
            KEY if composite else reader.keys[0].name,
            tuple(fields),
            label=reader.name,
            cursor=None if version is None else version.name,
            cursor_granularity=_DAY if by_day else timedelta(seconds=1),
            deletes=DeleteStrategy.SNAPSHOT,
            notes=(_NOTE,),
        )

    def _shown(self, reader: TableReader, version: Column | None) -> list[Column]:
        """The columns that the configuration names, all where it names none; key and cursor always."""
        named = next(table.fields for table in self.config.tables if table.name == reader.name)
        return [
            column
            for column in reader.columns
            if not named or column.key or column == version or column.name in named
        ]

    def mark(self, stream: Stream) -> Mark:
        """The system's own time, less the longest a change takes to be committed. STFC_CONNECTION
        tells it by the system's zone; of an hour that comes twice the first is meant.
        """
        answer = str(self.rfc.call("STFC_CONNECTION", REQUTEXT="").get("RESPTEXT", ""))
        told = _TIME.search(answer)
        if told is None:
            raise VendorUnavailable("The system does not tell its time (STFC_CONNECTION).")
        local = datetime.strptime(told[1] + told[2], "%Y%m%d%H%M%S").replace(
            tzinfo=self.config.zone
        )
        lag = self.config.commit_lag
        overlap = max(stream.cursor_granularity, lag)
        source = f"server time less {lag.total_seconds():.0f} s"
        return Mark(local.astimezone(UTC) - lag, source, overlap)

    # -- reading ---------------------------------------------------------------------------------

    def plan(
        self, stream: Stream, fields: Sequence[str], window: Window, *, filter: str | None
    ) -> ReadPlan:
        names = [stream.key, *([stream.cursor] if stream.cursor else []), *fields]
        for name in names:
            if name != KEY:
                self._reader(stream.name).column(name)
        return ReadPlan(stream, tuple(dict.fromkeys(names)), (Slice(window, 0),), filter)

    def read(self, plan: ReadPlan, part: Slice, position: Json | None) -> Iterator[Page]:
        reader = self._reader(plan.stream.name)
        version = self._version(reader)
        condition = both(self._window(version, part.window), plan.filter)
        keys = reader.all_keys(condition)
        if position is not None:
            after = tuple(position["after"])
            keys = [key for key in keys if key > after]
        columns = [reader.column(name) for name in plan.fields if name != KEY]
        size = self.config.page_size
        for at in range(0, len(keys) or 1, size):
            page = keys[at : at + size]
            found = (
                reader.records(columns, page, version, condition=condition, together=True)
                if page
                else {}
            )
            more = at + size < len(keys)
            position = {"after": list(page[-1])} if more else None
            yield self._page(plan.fields, page, found, position)

    def _page(
        self,
        fields: Sequence[str],
        keys: Sequence[Key],
        found: Mapping[Key, Mapping[str, str | None]],
        position: Json | None,
    ) -> Page:
        there = [key for key in keys if key in found]
        columns = {
            name: [join_key(key) for key in there]
            if name == KEY
            else [found[key][name] for key in there]
            for name in fields
        }
        return Page(columns, position, len(there), min_requests=0)

    def _window(self, version: Column | None, window: Window) -> str | None:
        """A day belongs to a window when any instant of it does; instants are cut to the second."""
        if version is None:
            return None
        parts = []
        by_day = version.kind is FieldKind.DATE
        if window.low is not None:
            parts.append(f"{version.name} >= {version.literal(self._text(version, window.low))}")
        if window.high is not None:
            edge = window.high - timedelta(microseconds=1) if by_day else window.high
            sign = "<=" if by_day else "<"
            parts.append(f"{version.name} {sign} {version.literal(self._text(version, edge))}")
        return both(*parts) or None

    def _text(self, version: Column, moment: datetime) -> str:
        if version.kind is FieldKind.DATE:
            return moment.astimezone(self.config.zone).date().isoformat()
        whole = moment.astimezone(UTC).replace(microsecond=0, tzinfo=None)
        return f"{whole.isoformat()}Z"

    def keys(self, stream: Stream, after: Key | None, *, filter: str | None) -> Iterator[KeyPage]:
        reader = self._reader(stream.name)
        found = [key for key in reader.all_keys(filter or "") if after is None or key > after]
        size = self.config.page_size
        for at in range(0, len(found) or 1, size):
            page = found[at : at + size]
            texts = tuple(key[0] if len(key) == 1 else join_key(key) for key in page)
            more = at + size < len(found)
            yield KeyPage(texts, {"after": list(page[-1])} if more else None, min_requests=0)

    def fetch(self, stream: Stream, fields: Sequence[str], keys: Sequence[str]) -> Page:
        reader = self._reader(stream.name)
        version = self._version(reader)
        names = [column.name for column in reader.keys]
        wanted = [key_values(key, names) for key in keys]
        shown = tuple(
            dict.fromkeys([stream.key, *([stream.cursor] if stream.cursor else []), *fields])
        )
        columns = [reader.column(name) for name in shown if name != KEY]
        return self._page(shown, wanted, reader.records(columns, wanted, version), None)

"""A connector to any JSON API over HTTP, as its configuration describes it."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

from hubblewave_pipelines.connectors.custom.cells import cell, instant, sent
from hubblewave_pipelines.connectors.custom.config import CustomConfig, StreamWish
from hubblewave_pipelines.connectors.custom.paging import at
from hubblewave_pipelines.core.entity import Json
from hubblewave_pipelines.core.errors import PartialAnswer, UnknownStream, VendorRefused
from hubblewave_pipelines.core.stream import (
    CheckReport,
    DeletePage,
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
from hubblewave_pipelines.outbound.session import Answer, Session

_SKEW = timedelta(seconds=30)  # from here on a check warns
_EMPTY_PAGES = 1000  # in a row, each with a next one


class CustomConnector:
    """See `connectors.protocol.Connector`."""

    def __init__(self, config: CustomConfig, session: Session) -> None:
        self._config = config
        self._session = session
        self._streams = {stream.name: stream for stream in config.streams}

    def check(self) -> CheckReport:
        path = self._config.check_path
        stream = self._config.streams[0]
        answer = self._get(path, {}) if path else self._get(stream.path, self._first(stream))
        findings = [Finding("reachable", Level.OK, f"The system answered {answer.status}.")]
        if path is None:
            findings.append(_records_finding(stream, answer))
        theirs = _date(answer)
        skew = None if theirs is None else theirs - answer.at
        if skew is None:
            detail = "The system tells no Date, so that its clock cannot be compared with ours."
            findings.append(Finding("clock", Level.WARNING, detail))
        elif abs(skew) > _SKEW:
            detail = f"The system's clock is {skew.total_seconds():.0f} s off ours; its time is what counts."
            findings.append(Finding("clock", Level.WARNING, detail))
        return CheckReport(tuple(findings), clock_skew=skew)

    def discover(self) -> Sequence[Stream]:
        return [_stream(wish) for wish in self._config.streams]

    def describe(self, stream: str) -> Stream:
        return _stream(self._wish(stream))

    def safe_mark(self, stream: Stream) -> Mark:
        wish = self._wish(stream.name)
        answer = self._get(wish.path, self._first(wish))
        now = _date(answer) or answer.at
        lag = wish.cursor.safe_lag if wish.cursor else timedelta(0)
        overlap = wish.cursor.overlap if wish.cursor else timedelta(0)
        return Mark(now - lag, f"server time less {lag.total_seconds():.0f} s", overlap)

    def plan(
        self, stream: Stream, fields: Sequence[str], window: Window, *, filter: str | None = None
    ) -> ReadPlan:
        wish = self._wish(stream.name)
        if filter:
            raise VendorRefused(
                "Custom connectors take no filter: put it into the stream's params."
            )
        wanted = [wish.key, *([wish.cursor.field] if wish.cursor else []), *fields]
        names = tuple(dict.fromkeys(wanted))
        known = {one.name for one in wish.fields}
        unknown = [name for name in names if name not in known]
        if unknown:
            raise VendorRefused(f"The stream {wish.name} has no field {', '.join(unknown)}.")
        return ReadPlan(stream, names, (Slice(window, 1),))

    def read(self, plan: ReadPlan, part: Slice, position: Json | None) -> Iterator[Page]:
        wish = self._wish(plan.stream.name)
        paths = {one.name: one for one in wish.fields}
        for records, following in self._pages(wish, part.window, position):
            kept = [record for record in records if _within(wish, record, part.window)]
            columns = {
                name: [cell(at(record, paths[name].path), paths[name].kind) for record in kept]
                for name in plan.fields
            }
            if None in columns[wish.key]:
                raise VendorRefused(f"A record of {wish.name} has no {wish.key}: check `key`.")
            yield Page(columns, following, len(kept))

    def deletes(
        self, stream: Stream, window: Window, position: Json | None
    ) -> Iterator[DeletePage]:
        yield DeletePage((), None, covered=False)

    def keys(
        self, stream: Stream, position: Json | None, *, filter: str | None = None
    ) -> Iterator[KeyPage]:
        wish = self._wish(stream.name)
        for records, following in self._pages(wish, Window(), position):
            found = [_key(wish, record) for record in records]
            if None in found:
                raise VendorRefused(f"A record of {wish.name} has no {wish.key}: check `key`.")
            yield KeyPage(tuple(key for key in found if key is not None), following)

    def count(self, stream: Stream, window: Window, *, filter: str | None = None) -> int | None:
        wish = self._wish(stream.name)
        if not wish.paging.total or (window.high and wish.cursor and not wish.cursor.end_param):
            return None
        answer = self._get(wish.path, {**self._first(wish), **_window(wish, window)})
        return wish.paging.total_of(answer.json())

    def fetch(self, stream: Stream, fields: Sequence[str], keys: Sequence[str]) -> Page:
        wish = self._wish(stream.name)
        if wish.item_path is None:
            raise VendorRefused(
                f"The stream {wish.name} has no itemPath, so none can be read alone."
            )
        found = []
        for key in keys:
            path = wish.item_path.replace("{key}", quote(key, safe=""))
            answer = self._get(path, wish.params, accept=(404, 410))
            if answer.status < 300:
                found.append(answer.json())
        paths = {one.name: one for one in wish.fields}
        columns = {
            name: [cell(at(record, paths[name].path), paths[name].kind) for record in found]
            for name in dict.fromkeys((wish.key, *fields))
        }
        return Page(columns, None, len(found), len(keys))

    def _pages(
        self, wish: StreamWish, window: Window, position: Json | None
    ) -> Iterator[tuple[list[Any], dict[str, Json] | None]]:
        """The records of each answer, and where to go on after it."""
        here: dict[str, Any] = (
            dict(position) if isinstance(position, dict) else {"params": wish.paging.start()}
        )
        empty = 0
        while True:
            fixed = {**wish.params, **_window(wish, window)}
            answer = (
                self._get(here["url"], {})
                if "url" in here
                else self._get(wish.path, {**fixed, **here["params"]})
            )
            body = answer.json()
            records = _records(wish, body)
            last = _key(wish, records[-1]) if records else None
            following = wish.paging.following(answer.headers, body, here, len(records), last)
            yield records, following
            if following is None:
                return
            empty = 0 if records else empty + 1
            if empty >= _EMPTY_PAGES:
                raise PartialAnswer(
                    f"{wish.name}: {empty} empty pages in a row, each with a next one."
                )
            here = following

    def _first(self, wish: StreamWish) -> dict[str, str]:
        return {**wish.params, **wish.paging.start()}

    def _get(self, path: str, params: Mapping[str, str], accept: tuple[int, ...] = ()) -> Answer:
        return self._session.request(
            "GET", path, params=params, headers=self._config.headers, accept=accept
        )

    def _wish(self, name: str) -> StreamWish:
        try:
            return self._streams[name]
        except KeyError as error:
            known = ", ".join(self._streams)
            raise UnknownStream(f"There is no stream {name}; there are {known}.") from error


def _stream(wish: StreamWish) -> Stream:
    return Stream(
        name=wish.name,
        label=wish.label,
        key=wish.key,
        fields=tuple(
            StreamField(one.name, one.kind, one.label, unique=one.name == wish.key)
            for one in wish.fields
        ),
        cursor=wish.cursor.field if wish.cursor else None,
        cursor_granularity=wish.cursor.granularity if wish.cursor else timedelta(seconds=1),
        deletes=DeleteStrategy.SNAPSHOT if wish.snapshot else DeleteStrategy.NONE,
    )


def _records(wish: StreamWish, body: Any) -> list[Any]:
    found = at(body, wish.records)
    if isinstance(found, list) and all(isinstance(record, dict) for record in found):
        return found
    where = ".".join(wish.records) or "the answer itself"
    raise VendorRefused(f"{wish.name}: {where} is no list of objects: check recordsPath.")


def _key(wish: StreamWish, record: Any) -> str | None:
    field = next(one for one in wish.fields if one.name == wish.key)
    return cell(at(record, field.path), field.kind)


def _window(wish: StreamWish, window: Window) -> dict[str, str]:
    cursor, found = wish.cursor, {}
    if cursor is not None and window.low is not None:
        found[cursor.start_param] = sent(window.low, cursor.format)
    if cursor is not None and cursor.end_param and window.high is not None:
        found[cursor.end_param] = sent(window.high, cursor.format)
    return found


def _within(wish: StreamWish, record: Any, window: Window) -> bool:
    """Records that a coarse or missing bound lets through are left to the window they belong to."""
    if wish.cursor is None or (window.low is None and window.high is None):
        return True
    field = next(one for one in wish.fields if one.name == wish.cursor.field)
    moved = instant(at(record, field.path))
    if moved is None:
        return True
    return (window.low is None or moved >= window.low) and (
        window.high is None or moved < window.high
    )


def _date(answer: Answer) -> datetime | None:
    try:
        return parsedate_to_datetime(answer.headers["date"]).astimezone(UTC)
    except (KeyError, ValueError, TypeError):
        return None


def _records_finding(wish: StreamWish, answer: Answer) -> Finding:
    try:
        records = _records(wish, answer.json())
    except (VendorRefused, PartialAnswer) as error:
        return Finding("streams", Level.ERROR, error.detail)
    if records and _key(wish, records[0]) is None:
        return Finding(
            "streams", Level.ERROR, f"A record of {wish.name} has no {wish.key}: check `key`."
        )
    return Finding("streams", Level.OK, f"{wish.name}: {len(records)} records on the first page.")

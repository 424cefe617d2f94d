"""The Salesforce connector: sObjects as streams, read by REST or Bulk API 2.0 as their size asks for."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from hubblewave_pipelines.connectors.salesforce import soql
from hubblewave_pipelines.connectors.salesforce.checking import Check
from hubblewave_pipelines.connectors.salesforce.clock import ServerClock
from hubblewave_pipelines.connectors.salesforce.config import Config
from hubblewave_pipelines.connectors.salesforce.describing import brief, described
from hubblewave_pipelines.connectors.salesforce.feed import Feed
from hubblewave_pipelines.connectors.salesforce.reading import REST_ROWS, Reading, least_requests
from hubblewave_pipelines.connectors.salesforce.refusals import explained
from hubblewave_pipelines.connectors.salesforce.values import column
from hubblewave_pipelines.core.entity import Json
from hubblewave_pipelines.core.errors import PartialAnswer, UnknownStream, VendorRefused
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
from hubblewave_pipelines.outbound.session import Answer, Session

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


class SalesforceConnector:
    def __init__(self, config: Config, session: Session) -> None:
        self._config = config
        self._session = session
        self._clock = ServerClock()
        self._feed = Feed(config, session, self._clock, self._now)

    def check(self) -> CheckReport:
        return Check(self._config, self._session, self._clock).report()

    def discover(self) -> Sequence[Stream]:
        found = self._get(f"{self._config.data}/sobjects").json()
        return [brief(each) for each in found["sobjects"] if each.get("queryable")]

    def describe(self, stream: str) -> Stream:
        if not _NAME.fullmatch(stream):
            raise UnknownStream(f"{stream!r} is no name of an sObject.")
        path = f"{self._config.data}/sobjects/{stream}/describe"
        answer = self._clock.see(self._session.request("GET", path, accept=(404,)))
        if answer.status == 404:
            raise UnknownStream(
                f"Salesforce has no object {stream}, or the user may not see it: check the name"
                " and the permissions of the connector's user."
            )
        return described(answer.json())

    def safe_mark(self, stream: Stream) -> Mark:
        with self._explaining():
            return self._feed.mark(stream)

    def plan(
        self, stream: Stream, fields: Sequence[str], window: Window, *, filter: str | None = None
    ) -> ReadPlan:
        """Makes no request: the first page of the window tells how large it is."""
        always = [name for name in (stream.key, stream.cursor) if name is not None]
        chosen = tuple(dict.fromkeys([*always, *fields]))
        least = least_requests(stream, chosen, filter)
        return ReadPlan(stream, chosen, (Slice(window, least),), filter)

    def read(self, plan: ReadPlan, part: Slice, position: Json | None) -> Iterator[Page]:
        with self._explaining():
            yield from Reading(self._config, self._session, plan, part.window).pages(position)

    def deletes(
        self, stream: Stream, window: Window, position: Json | None
    ) -> Iterator[DeletePage]:
        with self._explaining():
            yield from self._feed.deletes(stream, window)

    def keys(
        self, stream: Stream, position: Json | None, *, filter: str | None = None
    ) -> Iterator[KeyPage]:
        plan = ReadPlan(stream, (stream.key,), (), filter)
        with self._explaining():
            for page in Reading(self._config, self._session, plan, Window()).pages(position):
                keys = tuple(key for key in page.columns[stream.key] if key is not None)
                yield KeyPage(keys, page.position, page.min_requests)

    def count(self, stream: Stream, window: Window, *, filter: str | None = None) -> int | None:
        query = soql.counting(stream, soql.conditions(stream, window, filter))
        with self._explaining():
            answer = self._get(f"{self._config.data}/query", {"q": query})
        return int(answer.json()["totalSize"])

    def fetch(self, stream: Stream, fields: Sequence[str], keys: Sequence[str]) -> Page:
        """Up to 2,000 records a request, by POST: ids have no place in an address."""
        always = [name for name in (stream.key, stream.cursor) if name is not None]
        chosen = list(dict.fromkeys([*always, *fields]))
        rows: list[dict[str, Any]] = []
        batches = [keys[n : n + REST_ROWS] for n in range(0, len(keys), REST_ROWS)]
        with self._explaining():
            for batch in batches:
                answer = self._session.request(
                    "POST",
                    f"{self._config.data}/composite/sobjects/{stream.name}",
                    json={"ids": list(batch), "fields": list(chosen)},
                    safe=True,
                )
                found = self._clock.see(answer).json()
                if len(found) != len(batch):
                    raise PartialAnswer(
                        f"Salesforce was asked for {len(batch)} records and answered {len(found)}."
                    )
                rows += [row for row in found if row is not None]
        columns = {
            name: column(
                field.kind if (field := stream.field(name)) else None,
                [row.get(name) for row in rows],
            )
            for name in chosen
        }
        return Page(columns, None, len(rows), len(batches))

    def _get(self, path: str, params: dict[str, str] | None = None) -> Answer:
        return self._clock.see(self._session.request("GET", path, params=params))

    def _now(self) -> datetime:
        now = self._clock.now()
        if now is None:
            self._get("/services/data/")  # the list of versions, which counts against no limit
            now = self._clock.now()
        if now is None:
            raise PartialAnswer("Salesforce's answers have no Date: something between removes it.")
        return now

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        """Refusals say what Salesforce said."""
        try:
            yield
        except VendorRefused as error:
            raise explained(error, self._session) from error

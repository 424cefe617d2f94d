"""Records of a window in the order of Id: by REST page by page, and by a bulk job where many are left."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from hubblewave_pipelines.connectors.salesforce import soql
from hubblewave_pipelines.connectors.salesforce.bulk import (
    LEAST_REQUESTS,
    Bulk,
    JobGone,
    Place,
)
from hubblewave_pipelines.connectors.salesforce.config import Config
from hubblewave_pipelines.connectors.salesforce.values import column
from hubblewave_pipelines.core.entity import Json
from hubblewave_pipelines.core.errors import PartialAnswer
from hubblewave_pipelines.core.stream import Page, ReadPlan, Stream, Window
from hubblewave_pipelines.outbound.session import Session

REST_ROWS = 2_000
_LONGEST_QUERY = 12_000  # characters in an address, encoded; Salesforce takes 16,384 of all of it
_ATTEMPTS = 5


class Reading:
    """One plan's slice. Each REST page asks anew for what lies behind the last Id, so that no
    cursor of Salesforce (ten per user, records as they are later) is relied upon.
    """

    def __init__(self, config: Config, session: Session, plan: ReadPlan, window: Window) -> None:
        self._config = config
        self._session = session
        self._stream = plan.stream
        self._fields = plan.fields
        self._filter = plan.filter
        self._window = window
        self._bulk = Bulk(config, session)

    def pages(self, position: Json | None) -> Iterator[Page]:
        at: Mapping[str, Any] = position if isinstance(position, dict) else {}
        after: str | None = at.get("after")
        if "job" in at:
            place = Place(
                **{name: at[name] for name in ("job", "locator", "skip", "seen", "total")}
            )
            yield from self._by_job(place, after, None)
        elif at.get("bulk") or too_long(self._soql(after)):
            yield from self._by_job(None, after, at.get("left"))
        else:
            yield from self._by_rest(after)

    def _by_rest(self, after: str | None) -> Iterator[Page]:
        while True:
            rows, done, left = self._rest_page(after)
            page = self._page({name: [r.get(name) for r in rows] for name in self._fields})
            if done:
                yield page(None, 1)
                return
            after = rows[-1][self._stream.key]
            if left > self._config.bulk_above:
                yield page({"after": after, "bulk": True, "left": left}, 1)
                yield from self._by_job(None, after, left)
                return
            yield page({"after": after}, 1)

    def _rest_page(self, after: str | None) -> tuple[list[dict[str, Any]], bool, int]:
        """Records behind `after`, whether they are the last, and how many more there are."""
        key = self._stream.key
        for _ in range(_ATTEMPTS):
            answer = self._session.request(
                "GET",
                f"{self._config.data}/query",
                params={"q": self._soql(after)},
                headers={"Sforce-Query-Options": f"batchSize={REST_ROWS}"},
            ).json()
            rows = [row for row in answer["records"] if after is None or row[key] > after]
            if answer["done"] or rows:
                return rows, bool(answer["done"]), int(answer["totalSize"]) - len(rows)
            self._session.wait(1.0)
        raise PartialAnswer(
            f"Salesforce said that there is more of {self._stream.name}: nothing came."
        )

    def _by_job(self, place: Place | None, after: str | None, left: int | None) -> Iterator[Page]:
        """A job that went away is made again, and read from the start: what comes twice changes
        nothing.
        """
        known = place is not None
        while True:
            made = 0
            if place is None:
                place, made = self._bulk.start(self._soql(after, ordered=False), left), 2
            job = place.job
            try:
                for batch in self._bulk.read(place):
                    page = self._page(batch.columns)
                    least = made + batch.asked
                    made = 0
                    if batch.behind is None:
                        yield page(None, least + 1)
                        self._bulk.remove(job)
                        return
                    yield page({"after": after, **batch.behind.as_json()}, least)
            except JobGone:
                if not known:
                    raise PartialAnswer("Salesforce lost a query job.") from None
                place, known = None, False

    def _page(self, cells: Mapping[str, Sequence[Any]]) -> "_Made":
        columns = {
            name: column(field.kind if (field := self._stream.field(name)) else None, column_cells)
            for name, column_cells in cells.items()
        } or {name: [] for name in self._fields}
        absent = [name for name in self._fields if name not in columns]
        if absent:
            raise PartialAnswer(f"Salesforce answered without {', '.join(absent)}.")
        return _Made(columns)

    def _soql(self, after: str | None, *, ordered: bool = True) -> str:
        """Bulk jobs are not ordered: that would keep Salesforce from splitting them."""
        where = soql.conditions(self._stream, self._window, self._filter, after)
        return soql.select(self._fields, self._stream, where, ordered=ordered)


class _Made:
    """A page but for where it stands."""

    def __init__(self, columns: Mapping[str, list[str | None]]) -> None:
        self._columns = columns

    def __call__(self, position: Json | None, least: int) -> Page:
        rows = len(next(iter(self._columns.values())))
        return Page(self._columns, position, rows, least)


def too_long(query: str) -> bool:
    """Whether the query has no place in an address."""
    return len(quote(query, safe="")) > _LONGEST_QUERY


def least_requests(stream: Stream, fields: Sequence[str], filter: str | None) -> int:
    """What reading a window takes at least, as far as is known before."""
    where = soql.conditions(stream, Window(), filter)
    return LEAST_REQUESTS if too_long(soql.select(fields, stream, where, ordered=True)) else 1

"""The connector to Jira: the protocol's calls, each a few searches."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

from hubblewave_pipelines.connectors.jira import cloud, jql
from hubblewave_pipelines.connectors.jira.catalog import CURSOR, KEY, NAME, Catalog
from hubblewave_pipelines.connectors.jira.center import Walk
from hubblewave_pipelines.connectors.jira.checking import check
from hubblewave_pipelines.connectors.jira.config import Config
from hubblewave_pipelines.connectors.jira.identity import Identity
from hubblewave_pipelines.connectors.jira.searching import Issue, Searcher
from hubblewave_pipelines.connectors.jira.values import cell_of, stamp
from hubblewave_pipelines.core.entity import Json
from hubblewave_pipelines.core.errors import FilterIgnored, PartialAnswer
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

_IDS = 5_000  # on a page of Cloud that shows nothing else
_NAMED = 100  # issues that one request names


class JiraConnector:
    def __init__(self, config: Config, session: Session) -> None:
        self._config = config
        self._session = session
        self._identity = Identity(session, config.api)
        self._search = Searcher(session, config.api, self._identity)
        self._catalog = Catalog(config, session)

    def check(self) -> CheckReport:
        return check(self._config, self._session, self._search)

    def discover(self) -> Sequence[Stream]:
        return self._catalog.streams()

    def describe(self, stream: str) -> Stream:
        return self._catalog.describe(stream)

    def safe_mark(self, stream: Stream) -> Mark:
        """Jira's clock less the commit lag, on the minute. The answer that tells the clock is also the
        one that tells that we are no stranger, for whom every search would be empty.
        """
        lag = self._config.commit_lag
        at = jql.floor(self._identity.ask().at - lag)
        return Mark(at, f"Jira's time less {lag.total_seconds():.0f} s", self._config.overlap)

    def plan(
        self, stream: Stream, fields: Sequence[str], window: Window, *, filter: str | None = None
    ) -> ReadPlan:
        """Raises FilterIgnored for a filter that would break out of its brackets."""
        names = tuple(dict.fromkeys((KEY, CURSOR, *fields)))
        return ReadPlan(stream, names, (Slice(window, 1),), filter and jql.checked(filter))

    def read(self, plan: ReadPlan, part: Slice, position: Json | None) -> Iterator[Page]:
        window = part.window
        steps = self._steps(
            plan.filter, window, _asked(plan.fields), self._config.page_size, position
        )
        for step in steps:
            kept = [issue for issue in step.issues if self._belongs(issue, window, step.at)]
            yield self._page(plan.fields, kept, step.position)

    def deletes(
        self, stream: Stream, window: Window, position: Json | None
    ) -> Iterator[DeletePage]:
        """Jira has no feed of deletes."""
        yield DeletePage((), None, covered=False, min_requests=0)

    def keys(
        self, stream: Stream, position: Json | None, *, filter: str | None = None
    ) -> Iterator[KeyPage]:
        """Ids of all issues; an index that lags leaves the newest out, so that whoever takes a missing
        one for deleted fetches it first.
        """
        chosen = filter and jql.checked(filter)
        limit = _IDS if self._config.cloud else self._config.page_size
        for step in self._steps(chosen, Window(), ("id",), limit, position):
            yield KeyPage(tuple(str(issue["id"]) for issue in step.issues), step.position)

    def count(self, stream: Stream, window: Window, *, filter: str | None = None) -> int | None:
        """By Jira's index; None for windows that are not of whole minutes."""
        if jql.widened(window) != window:
            return None
        chosen = filter and jql.checked(filter)
        return self._search.count(jql.where(chosen, window), cloud=self._config.cloud)

    def fetch(self, stream: Stream, fields: Sequence[str], keys: Sequence[str]) -> Page:
        names = tuple(dict.fromkeys((KEY, CURSOR, *fields)))
        self._identity.known()
        if not self._config.cloud:
            found = [one for key in keys if (one := self._one(key, names)) is not None]
            return self._page(names, found, None, len(keys))
        found = []
        for start in range(0, len(keys), _NAMED):
            found += self._bulk(keys[start : start + _NAMED], names)
        return self._page(names, found, None, -(-len(keys) // _NAMED))

    def _bulk(self, keys: Sequence[str], names: Sequence[str]) -> Sequence[Issue]:
        asked = {"issueIdsOrKeys": list(keys), "fields": list(_asked(names))}
        answer = self._search.post("issue/bulkfetch", asked)
        body: Any = answer.json()
        issues, errors = body.get("issues") or [], body.get("issueErrors") or []
        if len({str(issue["id"]) for issue in issues}) + len(errors) < len(set(keys)):
            raise PartialAnswer("Jira neither shows all issues that were named nor says why not.")
        self._identity.confirm(answer, last=True)
        return list(issues)

    def _one(self, key: str, names: Sequence[str]) -> Issue | None:
        answer = self._session.request(
            "GET",
            f"{self._config.api}/issue/{quote(key, safe='')}",
            params={"fields": ",".join(_asked(names))},
            accept=(404,),
        )
        self._identity.confirm(answer, last=answer.status == 404)
        issue: Issue | None = None if answer.status == 404 else answer.json()
        return issue

    def _steps(
        self,
        filter: str | None,
        window: Window,
        fields: Sequence[str],
        limit: int,
        position: Json | None,
    ) -> Iterator[cloud.Step]:
        def query(*more: str, order: str = jql.ORDER) -> str:
            return f"{jql.where(filter, window, *more)} {order}"

        if self._config.cloud:
            return cloud.walk(self._search, query(), fields, limit, position)
        return Walk(self._search, query, fields, limit, self._config.window).steps(position)

    def _belongs(self, issue: Issue, window: Window, at: datetime) -> bool:
        """Whether an issue is of the window. One that changed since the index took it belongs to a
        later window; one that never can have been found by the query means that it was misread.
        """
        updated = stamp(str((issue.get("fields") or {}).get(CURSOR)))
        wide = jql.widened(window)
        early = wide.low is not None and updated < wide.low
        late = wide.high is not None and updated >= wide.high
        if early or (late and updated < at - self._config.overlap):
            raise FilterIgnored(
                f"Issue {issue['id']} came with updated {updated.isoformat()}, and"
                f" [{window.low or 'since ever'}, {window.high or 'now'}) was asked for: Jira ignored the"
                " filter, reads it in another time zone, or its index is far behind. Nothing of this"
                " answer was used."
            )
        return not (
            late
            or (window.low is not None and updated < window.low)
            or (window.high is not None and updated >= window.high)
        )

    def _page(
        self, names: Sequence[str], issues: Sequence[Issue], position: Json | None, least: int = 1
    ) -> Page:
        schemas = self._catalog.schemas()
        adf = self._config.adf and self._config.cloud
        columns: dict[str, list[str | None]] = {}
        for name in names:
            if name in (KEY, NAME):
                columns[name] = [None if i.get(name) is None else str(i[name]) for i in issues]
                continue
            cell = cell_of(name, schemas.get(name, {}), adf=adf)
            columns[name] = [cell((issue.get("fields") or {}).get(name)) for issue in issues]
        return Page(columns, position, len(issues), least)


def _asked(names: Sequence[str]) -> tuple[str, ...]:
    """What an answer's `fields` must hold; id and key come in any case."""
    return tuple(name for name in dict.fromkeys((CURSOR, *names)) if name not in (KEY, NAME))

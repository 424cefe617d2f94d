"""One search, on Cloud or Data Center: refused in Jira's own words, checked for who asked and for being whole."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from hubblewave_pipelines.connectors.jira.identity import Identity, server_time
from hubblewave_pipelines.core.entity import Json
from hubblewave_pipelines.core.errors import PartialAnswer, VendorRefused
from hubblewave_pipelines.outbound.session import Answer, Session

Issue = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Found:
    """`at` is Jira's clock; `token` (Cloud) leads on, None: this was the last; `total` is Data Center's."""

    issues: Sequence[Issue]
    at: datetime
    token: str | None = None
    total: int = 0


class Searcher:
    def __init__(self, session: Session, api: str, identity: Identity) -> None:
        self.session = session
        self.identity = identity
        self._api = api

    def by_token(self, jql: str, fields: Sequence[str], limit: int, token: str | None) -> Found:
        """Raises Unauthorized, PartialAnswer, VendorRefused beside what the session raises."""
        self.identity.known()
        asked: dict[str, Json] = {"jql": jql, "fields": list(fields), "maxResults": limit}
        if token is not None:
            asked["nextPageToken"] = token
        answer = self.post("search/jql", asked)
        body = _whole(answer)
        following = body.get("nextPageToken") or None
        if following is None and body.get("isLast") is False:
            raise PartialAnswer("Jira says that more issues follow, and not how to get them.")
        self.identity.confirm(answer, last=following is None)
        return Found(_issues(body), server_time(answer), following)

    def by_place(self, jql: str, fields: Sequence[str], start: int, limit: int) -> Found:
        """As `by_token`, with Data Center's startAt."""
        self.identity.known()
        answer = self.post(
            "search", {"jql": jql, "fields": list(fields), "startAt": start, "maxResults": limit}
        )
        body = _whole(answer)
        total = body.get("total")
        if not isinstance(total, int):
            raise PartialAnswer("Jira does not say how many issues a search found.")
        issues = _issues(body)
        self.identity.confirm(answer, last=start + len(issues) >= total)
        return Found(issues, server_time(answer), None, total)

    def count(self, jql: str, *, cloud: bool) -> int:
        if not cloud:
            return self.by_place(jql, ("key",), 0, 0).total
        answer = self.post("search/approximate-count", {"jql": jql})
        count = _whole(answer).get("count")
        if not isinstance(count, int):
            raise PartialAnswer("Jira's count of issues is no number.")
        self.identity.confirm(answer, last=not count)
        return count

    def post(self, path: str, body: Json) -> Answer:
        """A POST that only reads."""
        try:
            return self.session.request("POST", f"{self._api}/{path}", json=body, safe=True)
        except VendorRefused as error:
            raise self.explained(error) from error

    def explained(self, error: VendorRefused) -> VendorRefused:
        """With what Jira said of it, which an admin needs to mend a filter."""
        try:
            body = Answer(error.answered, {}, error.body, datetime.now(UTC), "").json()
        except PartialAnswer:
            return error
        words = body.get("errorMessages") if isinstance(body, dict) else None
        if not words:
            return error
        said = self.session.redacted(" ".join(str(word) for word in words))[:500]
        return VendorRefused(f"{error.detail} {said}", answered=error.answered, body=error.body)


def _whole(answer: Answer) -> Mapping[str, Any]:
    body = answer.json()
    if not isinstance(body, dict):
        raise PartialAnswer("Jira's answer is not an object.")
    if body.get("errorMessages"):
        raise PartialAnswer("Jira broke its answer off with an error. Nothing of it was used.")
    return body


def _issues(body: Mapping[str, Any]) -> Sequence[Issue]:
    issues = body.get("issues")
    if not isinstance(issues, list) or not all(isinstance(i, dict) and i.get("id") for i in issues):
        raise PartialAnswer("Jira's answer holds no list of issues with their ids.")
    return issues

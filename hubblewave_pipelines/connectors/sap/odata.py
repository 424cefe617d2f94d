"""One OData service over the session: its URLs, links that stay at home, feeds, counts, and writes under CSRF."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import msgspec

from hubblewave_pipelines.connectors.sap.config import Config
from hubblewave_pipelines.connectors.sap.edmx import Metadata, parse
from hubblewave_pipelines.core.entity import Json
from hubblewave_pipelines.core.errors import ForeignLink, PartialAnswer, VendorRefused
from hubblewave_pipelines.outbound.session import Answer, Session

_PLAIN = "$'(),:;/!*-._~"  # of a query, sent as they are; a space is always %20
_ACCEPT = {
    2: "application/json",
    4: "application/json;odata.metadata=minimal;IEEE754Compatible=true",
}


@dataclass(frozen=True, slots=True)
class Feed:
    """One page of an entity set. Links are as the service wrote them."""

    rows: Sequence[Mapping[str, Any]]
    removed: Sequence[Mapping[str, Any]]
    next_link: str | None
    delta_link: str | None


class Clock:
    """The system's own time as its answers tell it, and how far it is from ours."""

    def __init__(self) -> None:
        self.seen: datetime | None = None
        self.skew_seconds: float | None = None

    def hear(self, answer: Answer) -> None:
        try:
            told = parsedate_to_datetime(answer.headers.get("date", ""))
        except ValueError:
            return
        self.seen = told
        self.skew_seconds = (told - answer.at).total_seconds()


class Service:
    """A service root, for example `/sap/opu/odata/sap/API_BUSINESS_PARTNER`."""

    def __init__(self, session: Session, config: Config, path: str, clock: Clock) -> None:
        self.session = session
        self.config = config
        self.path = "/" + path.strip("/")
        self.clock = clock
        self._metadata: Metadata | None = None
        self._proof: str | None = None

    @property
    def known(self) -> bool:
        """Whether the metadata have been read, so that asking for them costs nothing."""
        return self._metadata is not None

    @property
    def metadata(self) -> Metadata:
        if self._metadata is None:
            answer = self.get("$metadata", headers={"Accept": "application/xml"})
            self._metadata = parse(answer.body)
        return self._metadata

    def present(self) -> bool:
        """Whether there is such a service that this user may see; reads its metadata on the way."""
        answer = self.get("$metadata", headers={"Accept": "application/xml"}, accept=(403, 404))
        if answer.status == 200:
            self._metadata = parse(answer.body)
        return answer.status == 200

    def get(
        self,
        resource: str,
        options: Mapping[str, str] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        accept: tuple[int, ...] = (),
    ) -> Answer:
        answer = self.session.request(
            "GET", self._url(resource, options or {}), headers=headers, accept=accept
        )
        self.clock.hear(answer)
        return answer

    def _url(self, resource: str, options: Mapping[str, str]) -> str:
        given = {**options, **self._always()}
        query = "&".join(f"{name}={quote(value, safe=_PLAIN)}" for name, value in given.items())
        return f"{self.path}/{resource}{'?' + query if query else ''}"

    def _always(self) -> dict[str, str]:
        found = {"sap-language": self.config.language}
        if self.config.client is not None:
            found["sap-client"] = self.config.client
        return found

    def feed(
        self,
        resource: str,
        options: Mapping[str, str],
        *,
        prefer: Sequence[str] = (),
        accept: tuple[int, ...] = (),
    ) -> Feed | None:
        """None for a status of `accept`."""
        answer = self.get(
            resource, self._formatted(options), headers=self._headers(prefer), accept=accept
        )
        return None if answer.status in accept else self._read(answer)

    def follow(
        self, link: str, *, prefer: Sequence[str] = (), accept: tuple[int, ...] = ()
    ) -> Feed | None:
        """The page behind a next or delta link, which is asked of this service whatever host it
        names. Raises ForeignLink when it leads out of the service.
        """
        answer = self.session.request(
            "GET", self.at_home(link), headers=self._headers(prefer), accept=accept
        )
        self.clock.hear(answer)
        return None if answer.status in accept else self._read(answer)

    def plain(self) -> dict[str, str]:
        """The options of a request whose answer only has to come."""
        return self._formatted({})

    def _formatted(self, options: Mapping[str, str]) -> dict[str, str]:
        return {**options, "$format": "json"} if self.metadata.version == 2 else dict(options)

    def _headers(self, prefer: Sequence[str]) -> dict[str, str]:
        headers = {"Accept": _ACCEPT[self.metadata.version]}
        if self.metadata.version == 2:
            headers["DataServiceVersion"] = headers["MaxDataServiceVersion"] = "2.0"
        else:
            headers["OData-MaxVersion"] = "4.0"
        return {**headers, "Prefer": ", ".join(prefer)} if prefer else headers

    def at_home(self, link: str) -> str:
        """A link as path and query below the service root; relative ones count from the root."""
        parts = urlsplit(link)
        if parts.netloc or parts.scheme or parts.path.startswith("/"):
            _, root, rest = parts.path.partition(self.path + "/")
            if not root:
                raise ForeignLink(
                    "The service links to a path outside of itself; it is not followed."
                )
        else:
            rest = parts.path
        if ".." in unquote(rest).split("/"):
            raise ForeignLink("The service links to a path outside of itself; it is not followed.")
        query = parts.query
        for name, value in self._always().items():
            if f"{name}=" not in query:
                query = f"{query}&{name}={value}" if query else f"{name}={value}"
        return f"{self.path}/{rest}?{query}"

    def _read(self, answer: Answer) -> Feed:
        body = answer.json()
        if not isinstance(body, dict) or "error" in body:
            raise PartialAnswer("The service gave rows and an error in one answer; none are used.")
        version = self.metadata.version
        page = body.get("d") if version == 2 else body
        rows = page.get("results" if version == 2 else "value") if isinstance(page, dict) else page
        if not isinstance(rows, list):
            raise PartialAnswer("The service's answer is no list of entities.")
        told = page if isinstance(page, dict) else {}
        removed = [row for row in rows if _is_removed(row)]
        return Feed(
            rows=[row for row in rows if not _is_removed(row)] if removed else rows,
            removed=removed,
            next_link=told.get("__next" if version == 2 else "@odata.nextLink"),
            delta_link=told.get("__delta" if version == 2 else "@odata.deltaLink"),
        )

    def count(self, resource: str, options: Mapping[str, str]) -> int | None:
        """`$count`; None where the service does not count."""
        answer = self.get(
            f"{resource}/$count", options, headers={"Accept": "text/plain"}, accept=(400, 404, 501)
        )
        text = answer.body.decode("utf-8", "replace").lstrip("\ufeff").strip()
        return int(text) if answer.status == 200 and text.isdigit() else None

    def write(
        self,
        method: str,
        resource: str,
        *,
        json: Json | None = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        accept: tuple[int, ...] = (),
        safe: bool = False,
    ) -> Answer:
        """A modifying request under a CSRF token; one that has expired is fetched anew, once: a
        request refused for its token had no effect.
        """
        content = msgspec.json.encode(json) if json is not None else content
        usual = {} if json is None else {"Content-Type": "application/json"}
        for again in (True, False):
            if self._proof is None:
                self._proof = self._fetch_proof()
            answer = self.session.request(
                method,
                self._url(resource, {}),
                content=content,
                headers={
                    **self._headers(()),
                    **usual,
                    **(headers or {}),
                    "X-CSRF-Token": self._proof,
                },
                accept=(*accept, 403),
                safe=safe,
            )
            expired = answer.headers.get("x-csrf-token", "").lower() == "required"
            if answer.status == 403 and expired:
                self._proof = None
                if again:
                    continue
            break
        if answer.status == 403 and 403 not in accept:
            raise VendorRefused(
                f"{method} {resource}: the system answered 403.", answered=403, body=answer.body
            )
        return answer

    def _fetch_proof(self) -> str:
        """The token belongs to the session cookie that comes with it, which the session keeps."""
        answer = self.get("", headers={"X-CSRF-Token": "Fetch", "Accept": _ACCEPT[2]})
        return answer.headers.get("x-csrf-token", "")


def _is_removed(row: Mapping[str, Any]) -> bool:
    return "@removed" in row or str(row.get("@odata.context", "")).endswith("/$deletedEntity")

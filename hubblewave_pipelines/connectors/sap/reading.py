"""Reading an entity set: by keys from any key on, by the service's own links, or from a delta link."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from hubblewave_pipelines.connectors.sap.edmx import EntitySet
from hubblewave_pipelines.connectors.sap.odata import Feed, Service
from hubblewave_pipelines.connectors.sap.streams import CHANGED, KEY, Change, wanted_properties
from hubblewave_pipelines.connectors.sap.values import Cell, beyond, join_key, predicate, reader
from hubblewave_pipelines.connectors.sap.windows import joined
from hubblewave_pipelines.core.entity import Json
from hubblewave_pipelines.core.errors import PartialAnswer
from hubblewave_pipelines.core.stream import Deleted, KeyPage, Page

Row = Mapping[str, Any]
Key = tuple[str, ...]

_TRACK = "odata.track-changes"
_STALE = (400, 404, 410)  # what a service says of a token that it does not know any more
_LONGEST_FILTER = 3_000  # characters, so that any proxy lets the URL through


@dataclass(frozen=True, slots=True)
class Reading:
    """What of which set is read. `fields` are the columns of the pages, key and cursor included."""

    service: Service
    part: EntitySet
    change: Change | None
    fields: Sequence[str]
    page_size: int

    @property
    def version(self) -> int:
        return self.service.metadata.version

    def _options(self, *filters: str | None) -> dict[str, str]:
        names = wanted_properties(self.part, self.change, self.fields)
        return {"$select": ",".join(names), **joined(*filters)}

    def _ordered(self, *filters: str | None) -> dict[str, str]:
        return {**self._options(*filters), "$orderby": ",".join(self.part.keys)}

    def _beyond(self, after: Key | None) -> str | None:
        if after is None:
            return None
        return beyond(self.part.keys, self.part.properties, self.version, after)

    # -- by keys ---------------------------------------------------------------------------------

    def by_keys(self, query: str | None, after: Key | None) -> Iterator[Page]:
        """Pages from the key `after` on. Each is asked for by the last key of the one before, so
        that no token of the service has to live, and none that counts rows is trusted.
        """
        for rows, last, more in self._walk(self._ordered, query, after):
            position: Json | None = {"after": list(last)} if more and last else None
            yield Page(self.columns(rows), position, len(rows))

    def _walk(
        self, options: Callable[..., dict[str, str]], query: str | None, after: Key | None
    ) -> Iterator[tuple[list[Row], Key | None, bool]]:
        """Rows, the last key so far, and whether anything may follow."""
        key_of = self.keying()
        while True:
            asked = {**options(query, self._beyond(after)), "$top": str(self.page_size)}
            feed = self._page(asked)
            fresh = {key: row for row in feed.rows if (key := key_of(row)) != after}
            rows = list(fresh.values())
            if feed.rows and not rows:
                raise PartialAnswer(
                    "The service gives the same record again and nothing beyond it."
                )
            last = key_of(rows[-1]) if rows else after
            more = feed.next_link is not None or len(feed.rows) >= self.page_size
            yield rows, last, more
            if not more:
                return
            after = last

    def _page(self, asked: Mapping[str, str]) -> Feed:
        """One page; where it is empty and yet has a next link, what is behind that."""
        feed = self.service.feed(self.part.name, asked)
        seen: set[str] = set()
        while feed is not None and not feed.rows and feed.next_link is not None:
            if feed.next_link in seen:
                raise PartialAnswer("The service's next link leads back to the page that has it.")
            seen.add(feed.next_link)
            feed = self.service.follow(feed.next_link)
        if feed is None:
            raise PartialAnswer("The service gave no page.")
        return feed

    # -- by links --------------------------------------------------------------------------------

    def by_links(self, query: str | None, link: str | None, *, track: bool) -> Iterator[Page]:
        """Pages as the service cuts them: for sets that cannot be asked by key, and for the first
        reading of a delta, whose link only comes at the end of it. A link that the service does not
        know any more means reading from the start.
        """
        prefer = [f"odata.maxpagesize={self.page_size}"] if self.version == 4 else []
        prefer += [_TRACK] if track else []
        feed = self.service.follow(link, prefer=prefer, accept=_STALE) if link is not None else None
        if feed is None:
            feed = self.service.feed(self.part.name, self._options(query), prefer=prefer)
        yield from self._follow(feed, prefer)

    def _follow(self, feed: Feed | None, prefer: Sequence[str]) -> Iterator[Page]:
        seen: set[str] = set()
        while feed is not None:
            link = feed.next_link
            if link is not None and link in seen:
                raise PartialAnswer("The service's next link leads back to an earlier page.")
            position: Json | None = None if link is None else {"link": link}
            token: Json | None = None if feed.delta_link is None else {"delta": feed.delta_link}
            yield Page(
                self.columns(feed.rows),
                position,
                len(feed.rows),
                token=token if link is None else None,
                deleted=tuple(Deleted(self.removed_key(row)) for row in feed.removed),
            )
            if link is None:
                return
            seen.add(link)
            feed = self.service.follow(link, prefer=prefer)

    def from_delta(self, delta: str, otherwise: Callable[[], Iterator[Page]]) -> Iterator[Page]:
        """What changed since a delta link was given, deletes among it, each at least once; the
        pages of `otherwise` where the service does not know the link any more.
        """
        prefer = [f"odata.maxpagesize={self.page_size}"] if self.version == 4 else []
        feed = self.service.follow(delta, prefer=prefer, accept=_STALE)
        if feed is None:
            yield from otherwise()
            return
        yield from self._follow(feed, prefer)

    # -- keys and single records -----------------------------------------------------------------

    def all_keys(self, query: str | None, after: Key | None) -> Iterator[KeyPage]:
        def options(*filters: str | None) -> dict[str, str]:
            keys = ",".join(self.part.keys)
            return {"$select": keys, **joined(*filters), "$orderby": keys}

        for rows, last, more in self._walk(options, query, after):
            position: Json | None = {"after": list(last)} if more and last else None
            yield KeyPage(tuple(self.key_text(row) for row in rows), position)

    def records(self, keys: Sequence[Key]) -> Page:
        """These records as they are now, in as few requests as URLs allow."""
        rows: list[Row] = []
        requests = 0
        for query, count in self._chunks(keys):
            asked = {**self._options(query), "$top": str(count)}
            found: Feed | None = self._page(asked)
            requests += 1
            while found is not None:
                rows.extend(found.rows)
                link = found.next_link
                found = self.service.follow(link) if link and len(found.rows) < count else None
        return Page(self.columns(rows), None, len(rows), min_requests=max(1, requests))

    def _chunks(self, keys: Sequence[Key]) -> Iterator[tuple[str, int]]:
        terms: list[str] = []
        length = 0
        for key in keys:
            term = predicate(self.part.keys, self.part.properties, self.version, key)
            term = f"({term})" if len(self.part.keys) > 1 else term
            if terms and length + len(term) > _LONGEST_FILTER:
                yield " or ".join(terms), len(terms)
                terms, length = [], 0
            terms.append(term)
            length += len(term) + 4
        if terms:
            yield " or ".join(terms), len(terms)

    # -- rows as columns -------------------------------------------------------------------------

    def keying(self) -> Callable[[Row], Key]:
        """What takes the key out of a row."""
        readers = [(name, reader(self.part.properties[name])) for name in self.part.keys]
        if len(readers) == 1:
            name, read = readers[0]
            return lambda row: (str(read(row[name])),)
        return lambda row: tuple(str(read(row[name])) for name, read in readers)

    def key_text(self, row: Row) -> str:
        key = self.keying()(row)
        return key[0] if len(key) == 1 else join_key(key)

    def columns(self, rows: Sequence[Row]) -> dict[str, Sequence[Cell]]:
        """Raises PartialAnswer when a row lacks what was asked for."""
        found: dict[str, Sequence[Cell]] = {}
        try:
            for name in self.fields:
                if name == KEY and name not in self.part.properties:
                    key_of = self.keying()
                    found[name] = [join_key(key_of(row)) for row in rows]
                elif name == CHANGED and name not in self.part.properties:
                    found[name] = self._changed(rows)
                else:
                    read = reader(self.part.properties[name])
                    found[name] = [read(row[name]) for row in rows]
        except KeyError as error:
            raise PartialAnswer(f"The service left out {error} that was asked for.") from error
        return found

    def _changed(self, rows: Sequence[Row]) -> list[Cell]:
        if self.change is None or self.change.created is None:
            return [None] * len(rows)
        moved, born = reader(self.change.field), reader(self.change.created)
        return [
            moved(row[self.change.field.name]) or born(row[self.change.created.name])
            for row in rows
        ]

    def removed_key(self, row: Row) -> str:
        """The key in a tombstone: its properties, or those in the parentheses of its id."""
        if all(name in row for name in self.part.keys):
            return self.key_text(row)
        told = str(row.get("id") or row.get("@id") or row.get("@odata.id") or "")
        begin = told.rfind(f"{self.part.name}(")
        inside = unquote(told[begin:]).partition("(")[2].rpartition(")")[0] if begin >= 0 else ""
        values = _parenthesis(inside)
        try:
            key = tuple(values[name if len(self.part.keys) > 1 else ""] for name in self.part.keys)
        except KeyError as error:
            raise PartialAnswer("A tombstone of the delta does not name its record.") from error
        return key[0] if len(key) == 1 else join_key(key)


def _parenthesis(text: str) -> dict[str, str]:
    """`'1'` or `A='1',B='2'` as values by name; the name of a lone value is empty."""
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        name = ""
        equals = text.find("=", at)
        quoted = text.find("'", at)
        if equals >= 0 and (quoted < 0 or equals < quoted):
            name, at = text[at:equals].strip(), equals + 1
        value, at = _value(text, at)
        found[name] = value
        at += 1  # the comma
    return found


def _value(text: str, at: int) -> tuple[str, int]:
    """One literal from `at` on, and where it ends."""
    begin = text.find("'", at)
    comma = text.find(",", at)
    if begin < 0 or (0 <= comma < begin):
        end = comma if comma >= 0 else len(text)
        return text[at:end], end
    out: list[str] = []
    place = begin + 1
    while place < len(text):
        if text[place] == "'":
            if text[place + 1 : place + 2] != "'":
                return "".join(out), place + 1
            place += 1
        out.append(text[place])
        place += 1
    return "".join(out), place

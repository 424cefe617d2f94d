"""What a service of the SAP sandbox answers to one request: metadata, sets, entries, counts and writes."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

from hubblewave_pipelines.sandboxes.sap import reading
from hubblewave_pipelines.sandboxes.sap.bodies import Rendering, encode, etag
from hubblewave_pipelines.sandboxes.sap.exchange import Ask, Refused, Reply
from hubblewave_pipelines.sandboxes.sap.keys import parenthesis, read_parenthesis
from hubblewave_pipelines.sandboxes.sap.literals import json_v2, json_v4
from hubblewave_pipelines.sandboxes.sap.metadata import edmx, service_document
from hubblewave_pipelines.sandboxes.sap.model import EntitySet, Service
from hubblewave_pipelines.sandboxes.sap.options import Asked, BadOption, read
from hubblewave_pipelines.sandboxes.sap.writing import Writer
from hubblewave_pipelines.sandboxes.stage import Table

_SEGMENT = re.compile(r"^([A-Za-z_]\w*)(?:\((.*)\))?$", re.DOTALL)
_PREFER_PAGE = re.compile(r"(?:odata\.)?maxpagesize\s*=\s*(\d+)")

Found = reading.Found
Twist = Callable[[Found, Asked, Table], Found]  # a fault that befalls the page


class ServiceDesk:
    """Answers for one service. `writer` changes the tables, `table_of` finds them."""

    def __init__(
        self,
        service: Service,
        writer: Writer,
        *,
        strings: bool,
        plus_is_space: bool,
        page: int | None,
    ) -> None:
        self.service = service
        self.writer = writer
        self.strings = strings
        self.plus_is_space = plus_is_space
        self.page = page

    def answer(self, ask: Ask, twist: Twist | None = None) -> Reply:
        """Raises Refused."""
        version = self.service.version
        try:
            reply = self._answer(ask, twist)
        except BadOption as error:
            raise Refused(
                400,
                "/IWFND/CM_MGW/022" if version == 2 else "005056A509B11EE1B9A8FEC11C21D78E",
                str(error),
            ) from error
        named = "dataserviceversion" if version == 2 else "odata-version"
        return replace(reply, headers={named: "2.0" if version == 2 else "4.0", **reply.headers})

    def _answer(self, ask: Ask, twist: Twist | None) -> Reply:
        segments = [unquote(part) for part in ask.path.split("/") if part]
        if not segments:
            return self._json(service_document(self.service))
        if segments == ["$metadata"]:
            return Reply(200, edmx(self.service), {"content-type": "application/xml"})
        found = _SEGMENT.match(segments[0])
        part = self.service.find(found[1]) if found else None
        if found is None or part is None:
            raise Refused(
                404,
                "005056A509B11EE1B9A8FEC11C21D78E",
                f"Resource not found for the segment '{segments[0]}'",
            )
        table = self.writer.tables[part.type.name]
        if found[2] is None:
            return self._set(ask, part, table, segments[1:], twist)
        return self._entry(ask, part, table, found[2], segments[1:])

    def _options(self, ask: Ask, part: EntitySet) -> Asked:
        shift = self.writer.zone_shift
        return read(
            ask.query,
            part.type,
            self.service.version,
            plus_is_space=self.plus_is_space,
            shift=shift,
        )

    def _set(
        self, ask: Ask, part: EntitySet, table: Table, rest: list[str], twist: Twist | None
    ) -> Reply:
        if ask.method == "POST" and not rest:
            row = self.writer.create(part, ask.body, self.service.version)
            entry = self._rendering(ask, Asked()).entry(part, row)
            reply = self._json(
                {"d": entry} if self.service.version == 2 else self._context(part, entry), 201
            )
            tagged = reply.adding(etag=etag(row, part.type)) if part.type.changed else reply
            return tagged.adding(location=f"{self._root(ask)}/{part.name}{self._key(row, part)}")
        if ask.method not in ("GET", "HEAD"):
            raise Refused(405, "/IWFND/CM_MGW/405", "Method not allowed on a collection")
        asked = self._options(ask, part)
        if rest == ["$count"]:
            number = reading.count(table, asked)
            return Reply(200, str(number).encode(), {"content-type": "text/plain"})
        if rest:
            raise Refused(
                404, "/IWFND/CM_MGW/404", f"Resource not found for the segment '{rest[0]}'"
            )
        prefer = ask.headers.get("prefer", "")
        track = part.tracks and "track-changes" in prefer and asked.filter is None
        page, applied = self._page(part, prefer)
        found = reading.find(self.writer.stage, table, part, asked, page=page, track=track)
        if twist is not None:
            found = twist(found, asked, table)
        reply = self._feed(ask, part, asked, found)
        if track:
            applied.append("odata.track-changes")
        return reply.adding(preference_applied=", ".join(applied)) if applied else reply

    def _page(self, part: EntitySet, prefer: str) -> tuple[int | None, list[str]]:
        page = self.page if part.page is not None and self.page is not None else part.page
        wanted = _PREFER_PAGE.search(prefer) if self.service.version == 4 else None
        if wanted is None or int(wanted[1]) < 1:
            return page, []
        size = int(wanted[1]) if page is None else min(page, int(wanted[1]))
        return size, [f"odata.maxpagesize={size}"]

    def _feed(self, ask: Ask, part: EntitySet, asked: Asked, found: Found) -> Reply:
        shown = self._rendering(ask, asked)
        rows = [self._expanded(shown, part, row, asked) for row in found.rows]
        gone = [shown.gone(part, self.writer.keyed(part.type, key)) for key in found.deleted]
        link = self._link(ask, part, asked, found)
        if self.service.version == 2:
            body: dict[str, Any] = {"results": [*rows, *gone]}
            if found.count is not None:
                body["__count"] = str(found.count)
            if link is not None:
                # Gateway writes the host that it believes to have
                body["__next" if found.skip_token else "__delta"] = f"{self._elsewhere(ask)}/{link}"
            return self._json({"d": body})
        page: dict[str, Any] = {"@odata.context": f"$metadata#{part.name}", "value": [*rows, *gone]}
        if asked.delta_token is not None:
            page["@odata.context"] += "/$delta"
        if found.count is not None:
            page["@odata.count"] = found.count
        if link is not None:
            page["@odata.nextLink" if found.skip_token else "@odata.deltaLink"] = link
        return self._json(page)

    def _link(self, ask: Ask, part: EntitySet, asked: Asked, found: Found) -> str | None:
        delta = "!deltatoken" if self.service.version == 2 else "$deltatoken"
        if found.skip_token:
            return f"{part.name}?{asked.raw}{'&' if asked.raw else ''}$skiptoken={found.skip_token}"
        if found.delta_token is None:
            return None
        kept = "&".join(
            one
            for one in asked.raw.split("&")
            if one and not one.startswith((delta, "%24delta", "%21delta"))
        )
        token = f"'{found.delta_token}'" if self.service.version == 2 else found.delta_token
        return f"{part.name}?{kept}{'&' if kept else ''}{delta}={token}"

    def _expanded(
        self, shown: Rendering, part: EntitySet, row: dict[str, Any], asked: Asked
    ) -> dict[str, Any]:
        entry = shown.entry(part, row)
        if part.items is not None and part.items[0] in asked.expand:
            name, target, shared = part.items
            other = self.service.find(target)
            if other is not None:
                whole = Rendering(shown.service, shown.root, as_numbers=shown.as_numbers)
                table = self.writer.tables[other.type.name]
                rows = [
                    whole.entry(other, one)
                    for one in reading.related(table, shared, row[shared], other.type)
                ]
                entry[name] = {"results": rows} if self.service.version == 2 else rows
        return entry

    def _entry(self, ask: Ask, part: EntitySet, table: Table, key: str, rest: list[str]) -> Reply:
        try:
            wanted = self.writer.find(
                part.type, read_parenthesis(key, part.type, self.service.version)
            )
        except ValueError as error:
            raise Refused(400, "/IWFND/CM_MGW/022", str(error)) from error
        row = table.rows.get(wanted) if wanted is not None else None
        if row is None:
            raise Refused(
                404, "/IWFND/CM_MGW/404", f"Resource not found for the segment '{part.name}'"
            )
        if ask.method in ("PATCH", "MERGE", "PUT", "POST"):
            method = ask.headers.get("x-http-method", ask.method)
            if method == "POST":
                raise Refused(405, "/IWFND/CM_MGW/405", "Method not allowed on an entity")
            self.writer.update(part, row, ask, self.service.version)
            return Reply(204)
        if ask.method == "DELETE":
            self.writer.remove(part, row, ask)
            return Reply(204)
        if rest:
            return self._inside(ask, part, row, rest)
        asked = self._options(ask, part)
        entry = self._expanded(self._rendering(ask, asked), part, row, asked)
        tag = {"etag": etag(row, part.type)} if part.type.changed else {}
        if tag and ask.headers.get("if-none-match") == tag["etag"]:
            return Reply(304, b"", tag)
        body = {"d": entry} if self.service.version == 2 else self._context(part, entry)
        return self._json(body).adding(**tag)

    def _inside(self, ask: Ask, part: EntitySet, row: dict[str, Any], rest: list[str]) -> Reply:
        """A property, its raw value, or the items behind a navigation property."""
        prop = part.type.by_name.get(rest[0])
        version = self.service.version
        if prop is not None:
            value = (
                json_v2(prop, row[prop.name])
                if version == 2
                else json_v4(prop, row[prop.name], decimals=str)
            )
            if rest[1:] == ["$value"]:
                return Reply(200, str(value).encode(), {"content-type": "text/plain"})
            return self._json({"d": {prop.name: value}} if version == 2 else {"value": value})
        if part.items is not None and rest[0] == part.items[0]:
            other = self.service.find(part.items[1])
            if other is not None:
                found = reading.related(
                    self.writer.tables[other.type.name],
                    part.items[2],
                    row[part.items[2]],
                    other.type,
                )
                return self._feed(ask, other, Asked(), Found(found, []))
        raise Refused(404, "/IWFND/CM_MGW/404", f"Resource not found for the segment '{rest[0]}'")

    def _rendering(self, ask: Ask, asked: Asked) -> Rendering:
        exact = "ieee754compatible=true" in ask.headers.get("accept", "").lower()
        return Rendering(
            self.service,
            self._root(ask),
            as_numbers=not (self.strings or exact),
            select=asked.select,
        )

    def _root(self, ask: Ask) -> str:
        return f"{ask.base}{self.service.path}"

    def _elsewhere(self, ask: Ask) -> str:
        return self._root(ask).replace("//127.0.0.1", "//localhost")

    def _key(self, row: dict[str, Any], part: EntitySet) -> str:
        return parenthesis(row, part.type, self.service.version)

    def _context(self, part: EntitySet, entry: dict[str, Any]) -> dict[str, Any]:
        return {"@odata.context": f"$metadata#{part.name}/$entity", **entry}

    def _json(self, body: Any, status: int = 200) -> Reply:
        kind = (
            "application/json"
            if self.service.version == 2
            else "application/json;odata.metadata=minimal;charset=utf-8"
        )
        return Reply(status, encode(body), {"content-type": kind})

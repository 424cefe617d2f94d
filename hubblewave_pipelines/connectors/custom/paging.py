"""Pagination styles of plain HTTP APIs: where the next page is, told from the last answer alone."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hubblewave_pipelines.core.entity import Json
from hubblewave_pipelines.core.errors import PartialAnswer, VendorRefused

_LINK = re.compile(r'<([^>]*)>((?:[^,"]|"[^"]*")*)')
_NEXT = re.compile(r"""\brel\s*=\s*(?:"[^"]*\bnext\b[^"]*"|next\b)""", re.IGNORECASE)


def at(value: Any, path: Sequence[str]) -> Any:
    """What lies at the path in JSON; None where there is nothing."""
    for name in path:
        if isinstance(value, Mapping):
            value = value.get(name)
        elif isinstance(value, list) and name.isdigit() and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
    return value


@dataclass(frozen=True, slots=True)
class Paging:
    """One style with its names. A position is plain JSON: `{"params": {...}}` or `{"url": ...}`."""

    style: str
    param: str = ""
    path: tuple[str, ...] = ()  # of the cursor or the address in an answer
    first: int = 1
    size_param: str | None = None
    size: int | None = None
    total: tuple[str, ...] = ()

    def start(self) -> dict[str, str]:
        """The parameters of the first request."""
        found: dict[str, str] = {}
        if self.size_param and self.size:
            found[self.size_param] = str(self.size)
        if self.style == "page":
            found[self.param] = str(self.first)
        elif self.style == "offset":
            found[self.param] = "0"
        return found

    def following(
        self,
        headers: Mapping[str, str],
        body: Any,
        position: Mapping[str, Any],
        rows: int,
        last_key: str | None,
    ) -> dict[str, Json] | None:
        """Where to go on after an answer of `rows` records that was asked for with `position`; None at
        the end. Raises PartialAnswer when the system sends the same page again and again.

        A short page ends nothing: records that the account may not see, or that were removed
        meanwhile, shorten any of them. Numbered pages end with an empty one, or with the total.
        """
        params = dict(position.get("params", {}))
        match self.style:
            case "cursor":
                token = at(body, self.path)
                if token in (None, "", False):
                    return None
                token = str(token)
                self._moved(params.get(self.param), token)
                return {"params": {**params, self.param: token}}
            case "link_header" | "next_url":
                link = _next_link(headers) if self.style == "link_header" else at(body, self.path)
                if link in (None, "", False):
                    return None
                if not isinstance(link, str):
                    raise VendorRefused("The address of the next page is no text: check urlPath.")
                self._moved(position.get("url"), link)
                return {"url": link}
            case "page":
                number = int(params[self.param])
                seen = (number - self.first + 1) * (self.size or rows)
                if not rows or self._complete(body, seen):
                    return None
                return {"params": {**params, self.param: str(number + 1)}}
            case "offset":
                seen = int(params[self.param]) + (self.size or rows)
                if not rows or self._complete(body, seen):
                    return None
                return {"params": {**params, self.param: str(seen)}}
            case "keyset":
                if not rows or last_key is None:
                    return None
                self._moved(params.get(self.param), last_key)
                return {"params": {**params, self.param: last_key}}
        return None

    def total_of(self, body: Any) -> int | None:
        """How many records there are in all, where the answer says so."""
        found = at(body, self.total) if self.total else None
        if isinstance(found, str) and found.isdigit():
            return int(found)
        return found if isinstance(found, int) and not isinstance(found, bool) else None

    def _complete(self, body: Any, seen: int) -> bool:
        total = self.total_of(body)
        return total is not None and seen >= total

    def _moved(self, before: Any, after: str) -> None:
        if before == after:
            raise PartialAnswer("The system names the page it has just sent as the next one.")


def _next_link(headers: Mapping[str, str]) -> str | None:
    for target, attributes in _LINK.findall(headers.get("link", "")):
        if _NEXT.search(attributes):
            return str(target)
    return None


def paging_of(given: Mapping[str, Any]) -> Paging:
    path = given.get("cursorPath") or given.get("urlPath") or ""
    return Paging(
        style=given["style"],
        param=given.get("param", ""),
        path=tuple(path.split(".")) if path else (),
        first=given.get("first", 1),
        size_param=given.get("pageSizeParam"),
        size=given.get("pageSize"),
        total=tuple(given["totalPath"].split(".")) if given.get("totalPath") else (),
    )

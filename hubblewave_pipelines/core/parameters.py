"""Request parameters -> `Query`: strict, every fault named, every literal typed before SQL."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from hubblewave_pipelines.core.cursor import Seal
from hubblewave_pipelines.core.entity import Entity
from hubblewave_pipelines.core.errors import Fault, MalformedRequest
from hubblewave_pipelines.core.filters import (
    MAX_NODES,
    find_column,
    hint,
    read_parameter,
    read_where,
)
from hubblewave_pipelines.core.query import (
    SORTABLE,
    All,
    Column,
    Count,
    Filter,
    Query,
    SortKey,
    columns_of,
    with_tie_break,
)
from hubblewave_pipelines.core.values import Refused

T = TypeVar("T")

DEFAULT_SIZE, MAX_SIZE = 20, 1000
DEEPEST_ROW = 1_000_000  # offsets beyond it cost more than anybody means to pay
MAX_SORT = 8
_WHOLE = re.compile(r"[0-9]{1,9}")

_PAGING = ("page", "pageSize")
_SINGLE = (*_PAGING, "after", "before", "sort", "fields", "count", "where")


def _malformed(faults: list[Fault]) -> MalformedRequest:
    named = "; ".join(f"{fault.parameter}: {fault.detail}" for fault in faults[:3])
    return MalformedRequest(f"{named}.", faults=faults)


@dataclass(frozen=True, slots=True)
class Paging:
    """A numbered page of a list that is always counted (the fixed control paths)."""

    page: int
    size: int

    @property
    def offset(self) -> int:
        return (self.page - 1) * self.size

    def page_info(self, total: int) -> dict[str, Any]:
        return {
            "currentPage": self.page,
            "pageSize": self.size,
            "totalPages": -(-total // self.size),
            "totalItems": total,
            "hasNextPage": self.offset + self.size < total,
            "hasPreviousPage": self.page > 1,
            "startCursor": None,
            "endCursor": None,
        }


class _Parameters:
    """The parameters of one request, and what is wrong with them."""

    def __init__(self, given: Iterable[tuple[str, str]]) -> None:
        self.faults: list[Fault] = []
        self.filters: list[tuple[str, str]] = []
        self.single: dict[str, str] = {}
        for name, value in given:
            if name.startswith("filter["):
                self.filters.append((name, value))
            elif name in self.single:
                self.fault(name, "duplicate", "is given twice")
            else:
                self.single[name] = value

    def fault(self, name: str, code: str, detail: str) -> None:
        self.faults.append(Fault(code, detail, parameter=name))

    def only(self, known: tuple[str, ...], *, filters: bool = False) -> None:
        """Faults for every parameter that is not known here."""
        for name in self.single:
            if name not in known:
                self.fault(name, "unknown", f"is not a parameter here{hint(name, known)}")
        if not filters:
            for name, _ in self.filters:
                self.fault(name, "unknown", "this list has no filters")

    def whole(self, name: str, default: int, most: int) -> int:
        text = self.single.get(name)
        if text is None:
            return default
        if not _WHOLE.fullmatch(text) or not 1 <= int(text) <= most:
            self.fault(name, "range", f"must be a whole number from 1 to {most}")
            return default
        return int(text)

    def read(self, name: str, read: Callable[[], T]) -> T | None:
        """What `read` returns; a refusal becomes a fault of this parameter."""
        try:
            return read()
        except Refused as refused:
            self.fault(name, refused.code, refused.detail)
            return None

    def done(self) -> None:
        if self.faults:
            raise _malformed(self.faults)


def parse_paging(given: Iterable[tuple[str, str]], *others: str) -> Paging:
    """page and pageSize of a fixed list; `others` are parameters the caller reads itself.

    Raises MalformedRequest naming every bad or unknown parameter.
    """
    found = _Parameters(given)
    found.only((*_PAGING, *others))
    paging = Paging(
        found.whole("page", 1, DEEPEST_ROW), found.whole("pageSize", DEFAULT_SIZE, MAX_SIZE)
    )
    found.done()
    return paging


def refuse_parameters(given: Iterable[tuple[str, str]]) -> None:
    """For requests that take no parameters. Raises MalformedRequest naming each."""
    found = _Parameters(given)
    found.only(())
    found.done()


def parse_fields(entity: Entity, given: Iterable[tuple[str, str]]) -> tuple[Column, ...]:
    """The columns that a request for one record asks for. Raises MalformedRequest."""
    found = _Parameters(given)
    found.only(("fields",))
    fields = _fields(entity, found)
    found.done()
    return fields


def _fields(entity: Entity, found: _Parameters) -> tuple[Column, ...]:
    text = found.single.get("fields")
    if text is None:
        return columns_of(entity)
    names = dict.fromkeys(text.split(","))
    columns = [found.read("fields", partial(find_column, entity, name)) for name in names]
    return tuple(column for column in columns if column is not None)


def _sort_key(entity: Entity, text: str) -> SortKey:
    name, _, nulls = text.removeprefix("-").partition(".")
    if nulls not in ("", "nullsFirst", "nullsLast"):
        raise Refused("format", f"write {name}.nullsFirst or {name}.nullsLast")
    column = find_column(entity, name)
    if column.kind not in SORTABLE:
        raise Refused("operator", f"{name} ({column.kind}) has no order")
    return SortKey(column, text.startswith("-"), nulls == "nullsFirst")


def _sort(entity: Entity, found: _Parameters) -> tuple[SortKey, ...]:
    text = found.single.get("sort")
    if text is None:
        return with_tie_break(())
    parts = text.split(",")
    if len(parts) > MAX_SORT:
        found.fault("sort", "range", f"takes at most {MAX_SORT} fields")
    keys = [
        key
        for part in parts[:MAX_SORT]
        if (key := found.read("sort", partial(_sort_key, entity, part))) is not None
    ]
    names = [key.column.name for key in keys]
    if len(set(names)) < len(names):
        found.fault("sort", "duplicate", "names one field twice")
    return with_tie_break(tuple(keys))


def _filter(entity: Entity, found: _Parameters) -> All:
    """Everything the request filters by; all of it must hold."""
    texts: dict[str, list[str]] = {}
    for name, value in found.filters:
        texts.setdefault(name, []).append(value)
    if len(texts) > MAX_NODES:
        found.fault("filter", "range", f"has more than {MAX_NODES} conditions")
        return All()
    parts: list[Filter] = []
    for name, values in texts.items():
        read = found.read(name, partial(read_parameter, entity, name, values))
        if read is not None:
            parts.append(read)
    where = found.single.get("where")
    if where is not None:
        tree = found.read("where", lambda: read_where(entity, where))
        if tree is not None:
            parts.append(tree)
    return All(tuple(parts))


def parse_query(entity: Entity, given: Iterable[tuple[str, str]], *, secret: bytes) -> Query:
    """The list a request asks for; `secret` seals the tenant's cursors.

    Raises MalformedRequest naming every bad or unknown parameter, and CursorMismatch.
    """
    found = _Parameters(given)
    found.only(_SINGLE, filters=True)
    size = found.whole("pageSize", DEFAULT_SIZE, MAX_SIZE)
    page = found.whole("page", 1, DEEPEST_ROW)
    if page * size > DEEPEST_ROW:
        found.fault("page", "range", f"ends beyond row {DEEPEST_ROW}; walk with after=<endCursor>")
    count = found.single.get("count", Count.NONE.value)
    if count not in list(Count):
        found.fault("count", "enum", f"must be one of {', '.join(Count)}")
    places = [name for name in ("after", "before") if name in found.single]
    if len(places) == 2 or (places and "page" in found.single):
        found.fault(places[0], "exclusive", "page, after and before exclude each other")
    query = Query(
        entity=entity,
        fields=_fields(entity, found),
        filter=_filter(entity, found),
        sort=_sort(entity, found),
        page=page,
        page_size=size,
    )
    found.done()
    query = replace(query, count=Count(count))
    if not places:
        return query
    place = Seal(secret, query).position(found.single[places[0]], backward=places[0] == "before")
    return replace(query, position=place)

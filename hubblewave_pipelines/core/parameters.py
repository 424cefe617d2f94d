"""Request parameters -> `Query`: strict, every fault named, every literal typed before SQL."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from hubblewave_pipelines.core.cursor import Seal
from hubblewave_pipelines.core.entity import Catalog, Entity, Json
from hubblewave_pipelines.core.errors import Fault, MalformedRequest
from hubblewave_pipelines.core.filters import MAX_NODES, Conditions, find_column, search
from hubblewave_pipelines.core.given import Given
from hubblewave_pipelines.core.query import (
    All,
    Column,
    Count,
    Filter,
    Query,
    Selection,
    View,
    columns_of,
)
from hubblewave_pipelines.core.reading import suggestion
from hubblewave_pipelines.core.selections import DEFAULT_SIZE, MAX_SIZE, Selections
from hubblewave_pipelines.core.sorting import read_sort
from hubblewave_pipelines.core.views import (
    PARAMETERS as VIEWS,
)
from hubblewave_pipelines.core.views import (
    loosened,
    read_view,
    refuse_relations,
    seen,
)

DEEPEST_ROW = 1_000_000  # offsets beyond it cost more than anybody means to pay

_PAGING = ("page", "pageSize")
_FLAGS = {"true": True, "false": False}
FILTERS = ("where", "q")
_SHOWN = ("fields", "expand")
_SINGLE = (*_PAGING, "after", "before", "sort", *_SHOWN, "count", *FILTERS, *VIEWS)


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


def parse_paging(given: Iterable[tuple[str, str]], *others: str) -> Paging:
    """page and pageSize of a fixed list; `others` are parameters the caller reads itself.

    Raises MalformedRequest naming every bad or unknown parameter.
    """
    found = Given.of_address(given)
    found.only((*_PAGING, *others))
    paging = Paging(
        found.whole("page", 1, DEEPEST_ROW), found.whole("pageSize", DEFAULT_SIZE, MAX_SIZE)
    )
    found.done()
    return paging


def refuse_parameters(given: Iterable[tuple[str, str]]) -> None:
    """For requests that take no parameters. Raises MalformedRequest naming each."""
    found = Given.of_address(given)
    found.only(())
    found.done()


def parse_flags(given: Iterable[tuple[str, str]], *known: str) -> dict[str, bool]:
    """The true-or-false parameters of a change. Raises MalformedRequest for any other."""
    flags, faults = dict.fromkeys(known, False), []
    for name, value in given:
        if name not in known:
            detail = f"there is no parameter {name[:60]} here{suggestion(name[:60], known)}"
            faults.append(Fault("unknown", detail, parameter=name[:60]))
        elif value not in _FLAGS:
            faults.append(Fault("type", f"{name} must be true or false", parameter=name))
        else:
            flags[name] = _FLAGS[value]
    if faults:
        raise MalformedRequest("The parameters cannot be read.", faults=faults)
    return flags


def parse_fields(entity: Entity, given: Iterable[tuple[str, str]]) -> tuple[Column, ...]:
    """The columns a request asks for where nothing can be expanded. Raises MalformedRequest."""
    found = Given.of_address(given)
    found.only(("fields",))
    text = found.text("fields")
    names = dict.fromkeys([] if text is None else text.split(","))
    columns = [found.read("fields", partial(find_column, entity, name)) for name in names]
    found.done()
    if text is None:
        return columns_of(entity)
    return tuple(column for column in columns if column is not None)


def parse_selection(
    entity: Entity, given: Iterable[tuple[str, str]], *, catalog: Catalog
) -> Selection:
    """What a request for one record asks to see of it. Raises MalformedRequest."""
    found = Given.of_address(given)
    found.only(_SHOWN)
    selection = _selection(entity, found, Conditions(catalog), catalog, 1)
    found.done()
    return selection


def parse_record(
    entity: Entity, given: Iterable[tuple[str, str]], *, catalog: Catalog
) -> tuple[Selection, View]:
    """As `parse_selection`, and the state of the record that is asked for."""
    found = Given.of_address(given)
    found.only((*_SHOWN, *VIEWS))
    view = read_view(found)
    selection = _selection(entity, found, Conditions(catalog), catalog, 1)
    refuse_relations(found, Query(entity, (), related=selection.related, view=view))
    found.done()
    return seen(view, selection), view


def _selection(
    entity: Entity, found: Given, conditions: Conditions, catalog: Catalog, records: int
) -> Selection:
    selections = Selections(catalog, conditions)
    wanted = found.read("expand", lambda: selections.wishes(found.single.get("expand")))
    if wanted is None:
        return Selection(())
    fields = found.single.get("fields")
    at_fault = "expand" if fields is None else "fields"
    read = found.read(at_fault, lambda: selections.read(entity, fields, wanted, records))
    return Selection(()) if read is None else read


def read_filter(entity: Entity, found: Given, conditions: Conditions) -> All:
    """Everything the request filters by, `q` included; all of it must hold. Faults go to `found`."""
    if len(found.filters) > MAX_NODES:
        found.fault("filter", "range", f"has more than {MAX_NODES} conditions")
        return All()
    parts: list[Filter | None] = [
        found.read(name, partial(conditions.parameter, entity, name, values))
        for name, values in found.filters.items()
    ]
    for name in ("where", "filter"):  # `filter` in bodies only: addresses have filter[...]
        where = found.single.get(name)
        if where is not None:
            read = conditions.text if isinstance(where, str) else conditions.tree
            parts.append(found.read(name, partial(read, entity, where)))
    words = found.text("q")
    if words is not None:
        parts.append(found.read("q", partial(search, entity, words)))
    return All(tuple(part for part in parts if part is not None))


def read_paging(found: Given, default: int = DEFAULT_SIZE) -> tuple[int, int]:
    """Number and size of the page asked for. Faults go to `found`."""
    size = found.whole("pageSize", default, MAX_SIZE)
    page = found.whole("page", 1, DEEPEST_ROW)
    if page * size > DEEPEST_ROW:
        found.fault("page", "range", f"ends beyond row {DEEPEST_ROW}; walk with after=<endCursor>")
    return page, size


def parse_query(
    entity: Entity,
    given: Iterable[tuple[str, str]],
    *,
    secret: bytes,
    catalog: Catalog,
    within: Filter | None = None,
) -> Query:
    """The list a request asks for; `secret` seals the tenant's cursors, `within` is a condition
    that comes from the path.

    Raises MalformedRequest naming every bad or unknown parameter, and CursorMismatch.
    """
    found = Given.of_address(given)
    found.only(_SINGLE, filters=True)
    return _query(entity, found, secret, catalog, within)


def parse_query_body(entity: Entity, body: Json, *, secret: bytes, catalog: Catalog) -> Query:
    """As `parse_query`, from a JSON body: names may come as lists, `where` (or `filter`) and
    `expand` as objects.
    """
    found = Given.of_body(body)
    found.only((*_SINGLE, "filter"))
    return _query(entity, found, secret, catalog, None)


def _query(
    entity: Entity, found: Given, secret: bytes, catalog: Catalog, within: Filter | None
) -> Query:
    page, size = read_paging(found)
    count = found.text("count") or Count.NONE.value
    if count not in list(Count):
        found.fault("count", "enum", f"must be one of {', '.join(Count)}")
    places = [name for name in ("after", "before") if name in found.single]
    if len(places) == 2 or (places and "page" in found.single):
        found.fault(places[0], "exclusive", "page, after and before exclude each other")
    conditions = Conditions(catalog)
    asked = read_filter(entity, found, conditions)
    sort = found.read("sort", lambda: read_sort(entity, found.text("sort"), catalog))
    view = read_view(found)
    shown = seen(view, _selection(entity, found, conditions, catalog, size))
    cursor = found.text(places[0]) if places else None
    query = Query(
        entity=entity,
        fields=shown.fields,
        filter=asked if within is None else All((within, *asked.parts)),
        sort=sort or (),
        page=page,
        page_size=size,
        count=Count(count) if count in list(Count) else Count.NONE,
        related=shown.related,
        view=view,
    )
    refuse_relations(found, query)
    found.done()
    query = loosened(query)
    if cursor is None:
        return query
    place = Seal(secret, query).position(cursor, backward=places[0] == "before")
    return replace(query, position=place)

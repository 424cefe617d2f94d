"""`aggregate[sum]=total&groupBy=status` -> `Aggregation`: what is computed over which groups."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from hubblewave_pipelines.core.entity import Catalog, Entity, FieldKind
from hubblewave_pipelines.core.filters import Conditions, find_column, follow, hint
from hubblewave_pipelines.core.given import Given
from hubblewave_pipelines.core.hops import Hop
from hubblewave_pipelines.core.parameters import FILTERS, read_filter, read_paging
from hubblewave_pipelines.core.query import SORTABLE, Column, Filter, column_of
from hubblewave_pipelines.core.values import ORDERED_KINDS, TEXT_KINDS, Refused

MAX_GROUPS, MAX_MEASURES = 5, 20
DEFAULT_GROUPS = 100

_NUMBERS = frozenset({FieldKind.INTEGER, FieldKind.NUMBER, FieldKind.DECIMAL})


class Function(StrEnum):
    COUNT = "count"  # of records, or of those with a value
    COUNT_DISTINCT = "countDistinct"
    SUM = "sum"
    AVG = "avg"
    MIN = "min"
    MAX = "max"


FUNCTIONS: Mapping[Function, frozenset[FieldKind]] = {
    Function.COUNT: frozenset(FieldKind),
    Function.COUNT_DISTINCT: SORTABLE,
    Function.SUM: _NUMBERS,
    Function.AVG: _NUMBERS,
    Function.MIN: ORDERED_KINDS | TEXT_KINDS,
    Function.MAX: ORDERED_KINDS | TEXT_KINDS,
}


class Part(StrEnum):
    """What a date or time is cut down to before it groups."""

    YEAR = "year"
    QUARTER = "quarter"
    MONTH = "month"
    WEEK = "week"
    DAY = "day"
    HOUR = "hour"  # datetimes only


@dataclass(frozen=True, slots=True)
class Measure:
    """`column` is None for the count of records."""

    function: Function
    column: Column | None

    @property
    def name(self) -> str:
        return "*" if self.column is None else self.column.name


@dataclass(frozen=True, slots=True)
class Group:
    """One thing that records are grouped by; `path` leads to the record that has the column."""

    name: str
    column: Column
    path: tuple[Hop, ...] = ()
    part: Part | None = None


@dataclass(frozen=True, slots=True)
class Ranking:
    """A sort key: one of the groups or of the measures."""

    of: Group | Measure
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Aggregation:
    """One page of the groups of an entity's records, with their measures; without groups, one row."""

    entity: Entity
    measures: tuple[Measure, ...]
    groups: tuple[Group, ...]
    filter: Filter
    sort: tuple[Ranking, ...]  # ends in the groups that it does not name
    page: int
    page_size: int


def measure_of(entity: Entity, function: Function, name: str) -> Measure:
    """What a function makes of a field, or of records (`*`). Raises Refused."""
    if name == "*" and function is Function.COUNT:
        return Measure(function, None)
    column = find_column(entity, name)
    if column.kind not in FUNCTIONS[function]:
        raise Refused("operator", f"{name} ({column.kind}) has no {function}")
    return Measure(function, column)


def _measures(entity: Entity, found: Given) -> tuple[Measure, ...]:
    measures: list[Measure | None] = []
    for parameter, texts in found.measures.items():
        word = parameter.removeprefix("aggregate[").removesuffix("]")
        if parameter != f"aggregate[{word}]" or word not in list(Function):
            known = f"write aggregate[{']=, aggregate['.join(Function)}]="
            found.fault(parameter, "operator", f"{known}{hint(word[:60], list(Function))}")
            continue
        names = dict.fromkeys(name for text in texts for name in text.split(","))
        measures += [
            found.read(parameter, partial(measure_of, entity, Function(word), name))
            for name in names
        ]
    if not found.measures:
        found.fault("aggregate", "required", "name what to compute, like aggregate[count]=*")
    if len(measures) > MAX_MEASURES:
        found.fault("aggregate", "range", f"computes more than {MAX_MEASURES} things")
    return tuple(measure for measure in measures if measure is not None)


def _group(entity: Entity, name: str, catalog: Catalog) -> Group:
    path, dot, last = name.rpartition(".")
    hops, owner, step = follow(entity, path, catalog) if dot else ((), entity, "")
    cut = column_of(owner, step) if dot else None
    if cut is None:
        hops, owner, step = follow(entity, name, catalog)
        column = find_column(owner, step)
        if column.kind not in SORTABLE:
            raise Refused("operator", f"{name} ({column.kind}) cannot be grouped by")
        return Group(name, column, hops)
    parts = [part.value for part in Part if cut.kind is FieldKind.DATETIME or part is not Part.HOUR]
    if cut.kind not in (FieldKind.DATE, FieldKind.DATETIME) or last not in parts:
        raise Refused(
            "operator", f"{path} ({cut.kind}) has no {last[:60]!r}; dates have {', '.join(parts)}"
        )
    return Group(name, cut, hops, Part(last))


def _groups(entity: Entity, text: str | None, catalog: Catalog) -> tuple[Group, ...]:
    if text is None:
        return ()
    names = text.split(",")
    if len(names) > MAX_GROUPS:
        raise Refused("range", f"takes at most {MAX_GROUPS} fields")
    if len(set(names)) < len(names):
        raise Refused("duplicate", "names one field twice")
    return tuple(_group(entity, name, catalog) for name in names)


def _sort(
    text: str | None, groups: tuple[Group, ...], measures: tuple[Measure, ...]
) -> tuple[Ranking, ...]:
    known: dict[str, Group | Measure] = {f"{m.function}.{m.name}": m for m in measures}
    known.update({group.name: group for group in groups})
    found: dict[str, Ranking] = {}
    for key in [] if text is None else text.split(","):
        name = key.removeprefix("-")
        if name not in known:
            offered = ", ".join(known)
            raise Refused("unknown", f"orders by {offered}, not {name[:60]!r}")
        if name in found:
            raise Refused("duplicate", f"names {name} twice")
        found[name] = Ranking(known[name], key.startswith("-"))
    rest = (Ranking(group) for group in groups if group.name not in found)
    return (*found.values(), *rest)


def aggregation_of(
    entity: Entity,
    measures: Iterable[Measure],
    *,
    group_by: str | None,
    sort: str | None,
    asked: Filter,
    page: int,
    size: int,
    catalog: Catalog,
) -> Aggregation:
    """The same from parts that are read already; `group_by` and `sort` as in an address. Raises Refused."""
    wanted = tuple(dict.fromkeys(measures))
    if len(wanted) > MAX_MEASURES:
        raise Refused("range", f"computes more than {MAX_MEASURES} things")
    groups = _groups(entity, group_by, catalog)
    return Aggregation(entity, wanted, groups, asked, _sort(sort, groups, wanted), page, size)


def parse_aggregation(
    entity: Entity, given: Iterable[tuple[str, str]], *, catalog: Catalog
) -> Aggregation:
    """What a request wants computed. Raises MalformedRequest naming every bad parameter."""
    found = Given.of_address(given)
    found.only(("page", "pageSize", "groupBy", "sort", *FILTERS), filters=True, measures=True)
    page, size = read_paging(found, DEFAULT_GROUPS)
    measures = _measures(entity, found)
    groups = found.read("groupBy", lambda: _groups(entity, found.text("groupBy"), catalog)) or ()
    asked = read_filter(entity, found, Conditions(catalog))
    found.done()
    sort = found.read("sort", lambda: _sort(found.text("sort"), groups, measures)) or ()
    found.done()
    return Aggregation(entity, measures, groups, asked, sort, page, size)

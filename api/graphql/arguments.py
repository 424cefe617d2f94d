"""The arguments of a list -> `Query`: what they mean is read by the parsers that REST has.

A filter input is rewritten as the `where` document it stands for: `total_gte: 10` is
`{"total": {"gte": 10}}`, and everything else is the same.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hubblewave_pipelines.core.cursor import Seal
from hubblewave_pipelines.core.entity import Catalog, Entity, Json
from hubblewave_pipelines.core.filters import Conditions, search
from hubblewave_pipelines.core.parameters import DEEPEST_ROW
from hubblewave_pipelines.core.query import All, Filter, Query
from hubblewave_pipelines.core.selections import DEFAULT_SIZE, MAX_SIZE
from hubblewave_pipelines.core.sorting import read_sort
from hubblewave_pipelines.core.values import Refused


def as_where(given: Mapping[str, Json]) -> dict[str, Json]:
    """A filter input as a `where` document. Names of fields never hold an underscore."""
    where: dict[str, Json] = {}
    operators: dict[str, dict[str, Json]] = {}
    for key, value in given.items():
        name, underscore, operator = key.partition("_")
        if underscore:
            operators.setdefault(name, {})[operator] = value
        elif key in ("and", "or"):
            where[key] = [as_where(part) for part in value] if isinstance(value, list) else value
        elif isinstance(value, Mapping) and key in ("some", "none", "every"):
            where[key] = as_where(value)
        elif isinstance(value, Mapping):
            where[key] = as_where(value)
        else:
            operators.setdefault(key, {})["eq"] = value
    return {**where, **operators}


def read_filter(entity: Entity, arguments: Mapping[str, Any], conditions: Conditions) -> Filter:
    """Everything that `filter` and `q` ask for. Raises Refused."""
    parts: list[Filter] = []
    given, words = arguments.get("filter"), arguments.get("q")
    if given:
        parts.append(conditions.tree(entity, as_where(given)))
    if words is not None:
        parts.append(search(entity, words))
    return parts[0] if len(parts) == 1 else All(tuple(parts))


def sort_text(arguments: Mapping[str, Any]) -> str | None:
    """`sort` or `orderBy` as REST's `sort`. Raises Refused."""
    one, several = arguments.get("sort"), arguments.get("orderBy")
    if one is not None and several is not None:
        raise Refused("exclusive", "sort and orderBy exclude each other")
    keys = several if one is None else [one]
    if not keys:
        return None
    return ",".join(_key(key) for key in keys)


def _key(key: Mapping[str, Any]) -> str:
    name = str(key["field"])
    if "," in name or name.startswith("-"):
        raise Refused("format", "names one field in each SortInput, and its order beside it")
    descending = "-" if key.get("order") == "DESC" else ""
    return f"{descending}{name}{'.nullsFirst' if key.get('nullsFirst') else ''}"


def whole(value: Any, name: str, most: int) -> int:
    """Raises Refused."""
    if not isinstance(value, int) or not 1 <= value <= most:
        raise Refused("range", f"{name} must be a whole number from 1 to {most}")
    return value


def _relay(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Relay's arguments as pagination. Raises Refused."""
    given = {
        name: arguments[name]
        for name in ("first", "after", "last", "before")
        if arguments.get(name) is not None
    }
    if not given:
        return {}
    if ("first" in given or "after" in given) and ("last" in given or "before" in given):
        raise Refused("exclusive", "first and after exclude last and before")
    if "last" in given and "before" not in given:
        raise Refused("exclusive", "last needs before; to read from the end, reverse the order")
    size = given.get("first", given.get("last", DEFAULT_SIZE))
    return {"pageSize": size, **{n: given[n] for n in ("after", "before") if n in given}}


def read_list(
    entity: Entity,
    arguments: Mapping[str, Any],
    *,
    catalog: Catalog,
    conditions: Conditions,
    secret: bytes,
) -> Query:
    """The page of records that a list's arguments ask for. Raises Refused and CursorMismatch."""
    paging = {k: v for k, v in (arguments.get("pagination") or {}).items() if v is not None}
    relay = _relay(arguments)
    if relay and paging:
        raise Refused("exclusive", "pagination excludes first, after, last and before")
    paging = relay or paging
    size = whole(paging.get("pageSize", DEFAULT_SIZE), "pageSize", MAX_SIZE)
    page = whole(paging.get("page", 1), "page", DEEPEST_ROW)
    if page * size > DEEPEST_ROW:
        raise Refused("range", f"page ends beyond row {DEEPEST_ROW}; walk with after: endCursor")
    places = [name for name in ("after", "before") if name in paging]
    if len(places) == 2 or (places and page > 1):
        raise Refused("exclusive", "page, after and before exclude each other")
    query = Query(
        entity,
        (),
        filter=read_filter(entity, arguments, conditions),
        sort=read_sort(entity, sort_text(arguments), catalog),
        page=page,
        page_size=size,
    )
    if not places:
        return query
    [place] = places
    position = Seal(secret, query).position(paging[place], backward=place == "before")
    return replace(query, position=position)

"""The query options of an OData request: the raw query string -> what is asked, or why not."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import unquote

from hubblewave_pipelines.sandboxes.sap.filters import BadFilter, Filter, parse_filter
from hubblewave_pipelines.sandboxes.sap.literals import comparable
from hubblewave_pipelines.sandboxes.sap.model import EntityType

_KNOWN = {
    2: {"$filter", "$orderby", "$select", "$top", "$skip", "$skiptoken", "$inlinecount", "$format",
        "$expand", "!deltatoken"},
    4: {"$filter", "$orderby", "$select", "$top", "$skip", "$skiptoken", "$count", "$format",
        "$expand", "$deltatoken"},
}  # fmt: skip


class BadOption(ValueError):
    """A query option that the service refuses; the message goes into the error body."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks of an entity set. `order`: property and whether descending."""

    filter: Filter | None = None
    order: tuple[tuple[str, bool], ...] = ()
    select: tuple[str, ...] = ()
    expand: tuple[str, ...] = ()
    top: int | None = None
    skip: int = 0
    skip_token: str | None = None
    delta_token: str | None = None
    count: bool = False
    raw: str = ""  # the query string without tokens: what a next link repeats


def split(query: str, *, plus_is_space: bool) -> list[tuple[str, str]]:
    """Names and values, percent-decoded. Raises BadOption for a `+` where spaces are `%20`."""
    found = []
    for part in query.split("&"):
        if not part:
            continue
        name, _, value = part.partition("=")
        if "+" in part:
            if not plus_is_space:
                raise BadOption("Invalid character '+' in the query: a space is written %20")
            value = value.replace("+", " ")
        found.append((unquote(name), unquote(value)))
    return found


def read(
    query: str,
    shape: EntityType,
    version: int,
    *,
    plus_is_space: bool,
    shift: timedelta = timedelta(0),
) -> Asked:
    """Raises BadOption."""
    given: dict[str, str] = {}
    for name, value in split(query, plus_is_space=plus_is_space):
        if name.startswith(("$", "!")):
            if name not in _KNOWN[version]:
                raise BadOption(f"System query option '{name}' is not supported")
            if name in given:
                raise BadOption(f"System query option '{name}' is given twice")
            given[name] = value
    select = _names(given.get("$select", ""), shape)
    return Asked(
        filter=_filter(given.get("$filter"), shape, version, shift),
        order=_order(given.get("$orderby", ""), shape),
        select=select,
        expand=tuple(filter(None, given.get("$expand", "").split(","))),
        top=_number(given, "$top"),
        skip=_number(given, "$skip") or 0,
        skip_token=given.get("$skiptoken"),
        delta_token=given.get("!deltatoken" if version == 2 else "$deltatoken"),
        count=given.get("$inlinecount") == "allpages" or given.get("$count") == "true",
        raw="&".join(
            part
            for part in query.split("&")
            if part
            and unquote(part.partition("=")[0])
            not in ("$skiptoken", "$skip", "$top", "$inlinecount", "$count")
        ),
    )


def _filter(text: str | None, shape: EntityType, version: int, shift: timedelta) -> Filter | None:
    if text is None:
        return None
    try:
        return parse_filter(text, shape, version, shift)
    except BadFilter as error:
        raise BadOption(f"Invalid $filter: {error}") from error


def _names(text: str, shape: EntityType) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if name != "*" and name not in shape.by_name and "/" not in name:
            raise BadOption(f"Property '{name}' not found in type '{shape.name}'")
    return () if "*" in names else tuple(name for name in names if "/" not in name)


def _order(text: str, shape: EntityType) -> tuple[tuple[str, bool], ...]:
    found = []
    for part in text.split(","):
        words = part.split()
        if not words:
            continue
        prop = shape.by_name.get(words[0])
        if (
            prop is None
            or not prop.sortable
            or len(words) > 2
            or words[1:] not in ([], ["asc"], ["desc"])
        ):
            raise BadOption(f"Invalid $orderby '{part.strip()}'")
        found.append((words[0], words[1:] == ["desc"]))
    return tuple(found)


def _number(given: dict[str, str], name: str) -> int | None:
    text = given.get(name)
    if text is None:
        return None
    if not text.isdigit():
        raise BadOption(f"'{text}' is not a valid value of {name}")
    return int(text)


def in_key_order(order: tuple[tuple[str, bool], ...], shape: EntityType) -> bool:
    """Whether this order is that of the key, or of a beginning of it."""
    return all(not down for _, down in order) and shape.keys[: len(order)] == tuple(
        name for name, _ in order
    )


def sorting(name: str, shape: EntityType) -> Callable[[dict[str, Any]], Any]:
    """What rows sort by for one property: nulls first."""
    prop = shape.by_name[name]
    return lambda row: (
        row[name] is not None,
        comparable(prop, row[name]) if row[name] is not None else 0,
    )

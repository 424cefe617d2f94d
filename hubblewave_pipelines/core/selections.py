"""`fields` and `expand` -> what is shown of a record: a tree of columns and related records."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from hubblewave_pipelines.core.entity import Catalog, Entity, Json
from hubblewave_pipelines.core.filters import Conditions, find_column, hint
from hubblewave_pipelines.core.hops import hop_of
from hubblewave_pipelines.core.query import (
    All,
    Column,
    Expansion,
    Selection,
    columns_of,
    with_tie_break,
)
from hubblewave_pipelines.core.sorting import read_sort
from hubblewave_pipelines.core.values import Refused

MAX_EXPAND, MAX_EXPANSIONS, MAX_RECORDS = 3, 20, 100_000
DEFAULT_SIZE, MAX_SIZE = 20, 1000
_OPTIONS = ("pageSize", "sort", "fields", "where", "expand")
_OF_ONE = ("fields", "expand")


@dataclass
class _Wish:
    """What a request says of one relation: options, and relations to expand below it."""

    options: dict[str, Json] = field(default_factory=dict)
    below: "_Wishes" = field(default_factory=dict)


_Wishes = dict[str, _Wish]


def split_outside(text: str, mark: str) -> list[str]:
    """The text split at `mark` where no parenthesis and no quotation (of JSON) is open.

    Raises Refused when one is never closed.
    """
    parts, depth, start, quoted, escaped = [], 0, 0, False, False
    for at, letter in enumerate(text):
        if escaped:
            escaped = False
        elif letter == '"':
            quoted = not quoted
        elif quoted:
            escaped = letter == "\\"
        else:
            depth += (letter == "(") - (letter == ")")
            if depth < 0:
                break
            if letter == mark and depth == 0:
                parts.append(text[start:at])
                start = at + 1
    if depth != 0 or quoted:
        raise Refused("format", "has a parenthesis or a quotation without its counterpart")
    return [*parts, text[start:]]


def _options(text: str) -> dict[str, Json]:
    options: dict[str, Json] = {}
    for part in split_outside(text, ";"):
        name, equals, value = part.partition("=")
        if not equals:
            raise Refused("format", "write options as (pageSize=5;sort=-total;fields=a,b)")
        if name in options:
            raise Refused("duplicate", f"gives {name[:60]!r} twice")
        options[name] = value
    return options


def _add(wishes: _Wishes, path: Sequence[str], options: dict[str, Json]) -> None:
    wish = wishes.setdefault(path[0], _Wish())
    if len(path) > 1:
        _add(wish.below, path[1:], options)
        return
    twice = wish.options.keys() & options.keys()
    if twice:
        raise Refused("duplicate", f"gives {path[0]} {min(twice)[:60]!r} twice")
    for name, value in options.items():
        if name == "expand":
            _read_wishes(wish.below, value)
        else:
            wish.options[name] = value


def _read_wishes(wishes: _Wishes, value: Json) -> None:
    """`a,b(pageSize=5),b.c` as text or list, or {"b":{"pageSize":5,"expand":...}}."""
    if isinstance(value, dict):
        for name, options in value.items():
            if not isinstance(options, dict):
                raise Refused("type", 'must be like {"customer":{},"orders":{"pageSize":5}}')
            _add(wishes, name.split("."), options)
        return
    texts = value if isinstance(value, list) else [value]
    for text in texts:
        if not isinstance(text, str):
            raise Refused("type", "must name relations")
        for item in split_outside(text, ","):
            path, parenthesis, inside = item.partition("(")
            if parenthesis and not inside.endswith(")"):
                raise Refused("format", "write options as (pageSize=5;sort=-total;fields=a,b)")
            _add(wishes, path.split("."), _options(inside[:-1]) if parenthesis else {})


def _names(value: Json) -> list[str]:
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise Refused("type", "fields must be names of fields")
    return list(dict.fromkeys(names))


class Selections:
    """Reads one request's selection: counts its expansions, bounds the records they can show."""

    def __init__(self, catalog: Catalog, conditions: Conditions) -> None:
        self._catalog = catalog
        self._conditions = conditions
        self._expansions = 0
        self._records = 0

    def wishes(self, value: Json) -> _Wishes:
        """What `expand` asks for. Raises Refused."""
        wishes: _Wishes = {}
        if value is not None:
            _read_wishes(wishes, value)
        return wishes

    def read(self, entity: Entity, fields: Json, wishes: _Wishes, records: int = 1) -> Selection:
        """What is shown of at most `records` records of the entity. Raises Refused."""
        return self._read(entity, None if fields is None else _names(fields), wishes, records, 0)

    def _read(
        self,
        entity: Entity,
        names: list[str] | None,
        wishes: _Wishes,
        records: int,
        depth: int,
    ) -> Selection:
        self._records += records
        if self._records > MAX_RECORDS:
            raise Refused(
                "range",
                f"could show more than {MAX_RECORDS:,} records; ask for smaller pages (pageSize)",
            )
        if wishes and depth == MAX_EXPAND:
            raise Refused("depth", f"expands more than {MAX_EXPAND} levels deep")
        columns, inner = self._sorted_out(entity, names, wishes)
        related = tuple(
            self._expansion(entity, name, wish, inner.get(name), records, depth)
            for name, wish in wishes.items()
        )
        return Selection(columns, related)

    def _sorted_out(
        self, entity: Entity, names: Iterable[str] | None, wishes: _Wishes
    ) -> tuple[tuple[Column, ...], dict[str, list[str]]]:
        """The entity's own columns among the names, and names of fields by expanded relation."""
        if names is None:
            return columns_of(entity), {}
        columns: list[Column] = []
        inner: dict[str, list[str]] = {}
        for name in names:
            head, dot, rest = name.partition(".")
            if not dot:
                columns.append(find_column(entity, name))
            elif head in wishes:
                inner.setdefault(head, []).append(rest)
            elif head in entity.relations_by_name:
                raise Refused("unexpanded", f"{head} is not expanded; add expand={head}")
            else:
                known = hint(head[:60], entity.relations_by_name)
                raise Refused("unknown", f"{entity.name} has no relation {head[:60]!r}{known}")
        return tuple(columns), inner

    def _expansion(
        self,
        entity: Entity,
        name: str,
        wish: _Wish,
        names: list[str] | None,
        records: int,
        depth: int,
    ) -> Expansion:
        self._expansions += 1
        if self._expansions > MAX_EXPANSIONS:
            raise Refused("range", f"expands more than {MAX_EXPANSIONS} relations")
        hop = hop_of(entity, name, self._catalog)
        if hop is None:
            known = hint(name[:60], entity.relations_by_name)
            raise Refused("unknown", f"{entity.name} has no relation {name[:60]!r}{known}")
        offered = _OPTIONS if hop.many else _OF_ONE
        for option in wish.options:
            if option not in offered:
                raise Refused(
                    "unknown",
                    f"{name} takes {', '.join(offered)}, not {option[:60]!r}"
                    f"{hint(option[:60], offered)}",
                )
        if "fields" in wish.options:
            if names is not None:
                raise Refused("exclusive", f"{name} has its fields both here and in fields")
            names = _names(wish.options["fields"])
        size = _size(wish.options.get("pageSize"), name) if hop.many else 1
        shown = self._read(hop.target, names, wish.below, records * size, depth + 1)
        if not hop.many:
            return Expansion(name, hop, shown.fields, shown.related)
        where, sort = wish.options.get("where"), wish.options.get("sort")
        read = self._conditions.text if isinstance(where, str) else self._conditions.tree
        if isinstance(sort, list) and all(isinstance(key, str) for key in sort):
            sort = ",".join(sort)
        if sort is not None and not isinstance(sort, str):
            raise Refused("type", f"{name} sort must be a string")
        return Expansion(
            name,
            hop,
            shown.fields,
            shown.related,
            filter=All() if where is None else read(hop.target, where),
            sort=with_tie_break(()) if sort is None else read_sort(hop.target, sort, self._catalog),
            page_size=size,
        )


def _size(value: Json, name: str) -> int:
    if value is None:
        return DEFAULT_SIZE
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if not (text.isascii() and text.isdigit()) or len(text) > 9 or not 1 <= int(text) <= MAX_SIZE:
        raise Refused("range", f"{name} pageSize must be a whole number from 1 to {MAX_SIZE}")
    return int(text)

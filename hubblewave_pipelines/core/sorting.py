"""`sort=-total,customer.name.nullsFirst` -> sort keys that make a total order."""

from dataclasses import replace

from hubblewave_pipelines.core.entity import Catalog, Entity
from hubblewave_pipelines.core.filters import find_column, follow
from hubblewave_pipelines.core.query import SORTABLE, SortKey, column_of, with_tie_break
from hubblewave_pipelines.core.values import Refused

MAX_SORT = 8
_PLACES = ("nullsFirst", "nullsLast")


def _key(entity: Entity, text: str, catalog: Catalog) -> SortKey:
    path, dot, nulls = text.removeprefix("-").rpartition(".")
    if not dot or nulls not in _PLACES:
        path, nulls = text.removeprefix("-"), ""
    head = path.partition(".")[0]
    if "." in path and column_of(entity, head) is not None:
        raise Refused("format", f"write {head}.nullsFirst or {head}.nullsLast")
    hops, owner, name = follow(entity, path, catalog)
    column = find_column(owner, name)
    if column.kind not in SORTABLE:
        raise Refused("operator", f"{name} ({column.kind}) has no order")
    if hops:
        column = replace(column, name=path, nullable=True)
    return SortKey(column, text.startswith("-"), nulls == "nullsFirst", hops)


def read_sort(entity: Entity, text: str | None, catalog: Catalog) -> tuple[SortKey, ...]:
    """The keys a caller names, ended by `id`. Raises Refused."""
    if text is None:
        return with_tie_break(())
    parts = text.split(",")
    if len(parts) > MAX_SORT:
        raise Refused("range", f"takes at most {MAX_SORT} fields")
    keys = tuple(_key(entity, part, catalog) for part in parts)
    names = {key.column.name for key in keys}
    if len(names) < len(keys):
        raise Refused("duplicate", "names one field twice")
    return with_tie_break(keys)

"""What an export asks for: a JSON body <-> `ExportRequest`, every fault at once.

The question is kept as it was asked and read again when the export runs, against the definitions
of that moment: a scheduled export outlives many of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from hubblewave_pipelines.core.entity import Catalog, Entity, Json
from hubblewave_pipelines.core.errors import Invalid
from hubblewave_pipelines.core.export_formats import ExportOptions, Format, parse_export_options
from hubblewave_pipelines.core.filters import Conditions, find_column, follow
from hubblewave_pipelines.core.given import Given
from hubblewave_pipelines.core.hops import Hop
from hubblewave_pipelines.core.parameters import read_filter
from hubblewave_pipelines.core.query import All, Column, Filter, SortKey, columns_of
from hubblewave_pipelines.core.reading import Reading, suggestion
from hubblewave_pipelines.core.schedule import Schedule, parse_schedule
from hubblewave_pipelines.core.sorting import read_sort
from hubblewave_pipelines.core.values import Refused

QUESTION = ("fields", "filter", "where", "q", "sort", "limit", "offset")
_BODY = ("entity", "format", "options", "schedule", "timezone", "destination", *QUESTION)
MOST = 10**9
MAX_COLUMNS = 1_000
_LONGEST_DESTINATION = 1_000
_EVERY = All()


@dataclass(frozen=True, slots=True)
class Source:
    """A column of the file. `path` leads over manyToOne relations to the record that has it; the
    column's name is then the whole dotted path."""

    column: Column
    path: tuple[Hop, ...] = ()


@dataclass(frozen=True, slots=True)
class Extract:
    """The rows of a file. Without `sort` they come as they are stored; limit None means all."""

    entity: Entity
    columns: tuple[Source, ...]
    filter: Filter = _EVERY
    sort: tuple[SortKey, ...] = ()
    limit: int | None = None
    offset: int = 0


@dataclass(frozen=True, slots=True)
class ExportRequest:
    extract: Extract
    question: Mapping[str, Json]
    format: Format
    options: ExportOptions
    schedule: Schedule | None
    destination: str | None


def _source(entity: Entity, catalog: Catalog, name: Json) -> Source:
    if not isinstance(name, str):
        raise Refused("type", "fields must be names of fields")
    hops, owner, last = follow(entity, name, catalog)
    column = find_column(owner, last)
    return Source(replace(column, name=name, nullable=True) if hops else column, hops)


def _columns(entity: Entity, catalog: Catalog, found: Given) -> tuple[Source, ...]:
    value = found.single.get("fields")
    if value is None:
        return tuple(Source(column) for column in columns_of(entity))
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list) or not 1 <= len(names) <= MAX_COLUMNS:
        found.fault("fields", "type", f"must be a list of 1 to {MAX_COLUMNS} names of fields")
        return ()
    sources = [found.read("fields", partial(_source, entity, catalog, name)) for name in names]
    columns = [source for source in sources if source is not None]
    twice = [c.column.name for i, c in enumerate(columns) if c in columns[:i]]
    if twice:
        found.fault("fields", "duplicate", f"names {twice[0]} twice")
    return tuple(columns)


def _question(entity: Entity, catalog: Catalog, found: Given) -> Extract:
    columns = _columns(entity, catalog, found)
    asked = read_filter(entity, found, Conditions(catalog))
    text = found.text("sort")
    sort = None if text is None else found.read("sort", lambda: read_sort(entity, text, catalog))
    limit = found.whole("limit", 0, MOST) or None
    offset = found.single.get("offset")
    offset = 0 if offset == 0 and offset is not False else found.whole("offset", 0, MOST)
    if sort is None and (limit is not None or offset):
        sort = read_sort(entity, None, catalog)  # a part of a file is a part of an order
    return Extract(entity, columns, asked, sort or (), limit, offset)


def parse_question(entity: Entity, question: Json, *, catalog: Catalog) -> Extract:
    """The question that an export keeps, read against the present definitions.

    Raises Invalid when they no longer allow it.
    """
    found = Given.of_body(question)
    found.only(QUESTION)
    extract = _question(entity, catalog, found)
    if found.faults:
        said = "; ".join(f"{fault.pointer}: {fault.detail}" for fault in found.faults[:5])
        raise Invalid(f"The export no longer fits {entity.name}: {said}.", faults=found.faults)
    return extract


def _entity(found: Given, catalog: Catalog) -> Entity | None:
    name = found.single.get("entity")
    if not isinstance(name, str) or not name.strip():
        found.fault("entity", "required", "name the entity whose records are exported")
        return None
    entity = catalog.named(name) or catalog.at_path(name)
    if entity is None:
        hint = suggestion(name[:60], [e.name for e in catalog])
        found.fault("entity", "unknown", f'there is no entity "{name[:60]}"{hint}')
    return entity


def parse_export(body: Json, *, catalog: Catalog) -> ExportRequest:
    """Raises MalformedRequest unless the body is an object, and Invalid naming every fault."""
    found, reading = Given.of_body(body), Reading()
    found.only(_BODY)
    entity = _entity(found, catalog)
    word = reading.choice(body, "format", "#", list(Format)) if "format" in found.single else None
    chosen = Format(word) if word else Format.CSV
    options = parse_export_options(found.single.get("options"), chosen, reading)
    schedule = parse_schedule(found.single.get("schedule"), found.single.get("timezone"), reading)
    destination = reading.text(body, "destination", "#", longest=_LONGEST_DESTINATION)
    extract = None if entity is None else _question(entity, catalog, found)
    faults = [*found.faults, *reading.faults]
    if faults or extract is None:
        raise Invalid("The export cannot be accepted.", faults=faults)
    question = {key: found.single[key] for key in QUESTION if key in found.single}
    return ExportRequest(extract, question, chosen, options, schedule, destination)

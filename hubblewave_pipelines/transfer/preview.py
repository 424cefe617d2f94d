"""What an import of a file would do, shown on its first rows; nothing that it writes stays."""

import itertools
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa

from hubblewave_pipelines.core.entity import Catalog, Entity, Field, FieldKind
from hubblewave_pipelines.core.import_options import ImportOptions
from hubblewave_pipelines.core.mapping import FieldMap, documents_of
from hubblewave_pipelines.storage.database import Database, Transaction
from hubblewave_pipelines.storage.merge_plan import MergePlan, plan_merge
from hubblewave_pipelines.storage.merging import ChunkMerge, Merged, RowFault
from hubblewave_pipelines.storage.staging import hurry
from hubblewave_pipelines.transfer.apart import Limits
from hubblewave_pipelines.transfer.chunks import Preparation, ReadChunk
from hubblewave_pipelines.transfer.coerce import coerce
from hubblewave_pipelines.transfer.copy_rows import HEAD, TAIL
from hubblewave_pipelines.transfer.formats import BINARY, Source
from hubblewave_pipelines.transfer.opening import open_reader
from hubblewave_pipelines.transfer.records import RAW_COLUMN
from hubblewave_pipelines.transfer.rows import Chunk

ROWS = 20
_SAMPLE = 100
_COLUMNS = 500
_SECONDS = 5
_EXAMPLES = 3
_SHOWN = 200  # characters of a cell
# What a column may be, the narrowest first.
_KINDS = (
    FieldKind.BOOLEAN,
    FieldKind.INTEGER,
    FieldKind.DECIMAL,
    FieldKind.NUMBER,
    FieldKind.DATE,
    FieldKind.DATETIME,
    FieldKind.UUID,
    FieldKind.EMAIL,
    FieldKind.URL,
)


@dataclass(frozen=True, slots=True)
class SeenColumn:
    """A column of the file: what its first values could be, and some of them."""

    name: str
    kind: FieldKind
    empty: int
    examples: list[str]


@dataclass(frozen=True, slots=True)
class RowOutcome:
    """What would become of a row: created, updated, unchanged, skipped, matched (where only all
    rows together can be asked), failed. `values` are those it would write."""

    row: int
    outcome: str
    values: dict[str, Any]
    faults: list[RowFault]
    raw: str


class _Undone(Exception):
    """Everything was seen; nothing may stay."""


def first_rows(
    path: Path,
    source: Source,
    options: ImportOptions,
    maps: Sequence[FieldMap],
    entity: Entity,
    limits: Limits,
) -> Chunk | None:
    """The first rows of a file with all its columns; None when it has none."""
    columns = [*source.columns[:_COLUMNS], *(name for m in maps for name in m.columns)]
    reader = open_reader(
        path,
        source,
        limits,
        columns=columns,
        null_values=options.null_values,
        documents=documents_of(maps, entity),
    )
    chunks = reader.chunks(chunk_rows=_SAMPLE)
    try:
        return next(chunks, None)
    finally:
        close = getattr(chunks, "close", None)
        if close is not None:
            close()


def columns_of(source: Source, chunk: Chunk | None) -> list[SeenColumn]:
    found: list[SeenColumn] = []
    for name in source.columns[:_COLUMNS]:
        cells = pa.array([], pa.string())
        if chunk is not None and name in chunk.table.column_names and name != RAW_COLUMN:
            cells = pa.array(chunk.table.column(name).to_pylist(), pa.string())
        values = [cell for cell in cells.to_pylist() if cell not in (None, "")]
        examples = [value[:_SHOWN] for value in dict.fromkeys(values)][:_EXAMPLES]
        found.append(SeenColumn(name, _kind(values), len(cells) - len(values), examples))
    return found


def _kind(values: list[str]) -> FieldKind:
    """The narrowest kind that takes all values; digits alone are no truth."""
    cells = pa.array(values, pa.string())
    for kind in _KINDS if values else ():
        if kind is FieldKind.BOOLEAN and all(value in ("0", "1") for value in values):
            continue
        if not coerce(Field(id="", name="", kind=kind), cells).faults:
            return kind
    return FieldKind.TEXT


def outcomes(
    database: Database,
    tenant_id: UUID,
    entity: Entity,
    catalog: Catalog,
    source: Source,
    maps: Sequence[FieldMap],
    options: ImportOptions,
    chunk: Chunk,
) -> list[RowOutcome]:
    """What would become of the first ROWS rows, by doing it in a transaction that is undone.

    Raises Unavailable when other writers keep it waiting.
    """
    preparation = Preparation(entity, catalog, maps, options, typed=source.format in BINARY)
    read = preparation.read(chunk)
    plan = plan_merge(uuid.uuid4(), entity, catalog, maps, options)
    last = sorted([*chunk.row_numbers.tolist(), *(bad.row for bad in chunk.malformed)])[:ROWS][-1]
    names = [m.target for m in maps]
    found: dict[int, RowOutcome] = {}
    for fault in read.faults:
        if fault.row <= last:
            held = found.setdefault(
                fault.row, RowOutcome(fault.row, "failed", {}, [], chunk.raw(fault.row))
            )
            held.faults.append(fault)
    places = list(itertools.takewhile(lambda i: read.numbers[i] <= last, range(len(read.numbers))))
    try:
        with database.transaction(tenant_id) as tx:
            tx.run(hurry(_SECONDS))
            for at, (outcome, faults) in _merged(tx, plan, read, places).items():
                row = int(read.numbers[at])
                values = {n: _shown(a, at) for n, a in zip(names, read.arrays, strict=True)}
                found[row] = RowOutcome(row, outcome, values, faults, chunk.raw(row))
            raise _Undone
    except _Undone:
        return [found[row] for row in sorted(found)]


def _merged(
    tx: Transaction, plan: MergePlan, read: ReadChunk, places: list[int]
) -> dict[int, tuple[str, list[RowFault]]]:
    """The outcome of each row. Without an index of their keys rows are asked all at once, because
    each question reads the table."""
    merge = ChunkMerge(plan)
    if plan.keys_indexed:
        each = {at: _merge(tx, merge, read, at, at + 1) for at in places}
        return {at: (_named(plan, merged), merged.faults) for at, merged in each.items()}
    if not places:
        return {}
    merged = _merge(tx, merge, read, places[0], places[-1] + 1)
    by_row: dict[int, list[RowFault]] = {}
    for fault in merged.faults:
        by_row.setdefault(fault.row, []).append(fault)
    whole = "created" if merged.created == len(places) - len(by_row) else "matched"
    return {
        at: ("failed" if faults else whole, faults)
        for at in places
        for faults in [by_row.get(int(read.numbers[at]), [])]
    }


def _merge(tx: Transaction, merge: ChunkMerge, read: ReadChunk, first: int, stop: int) -> Merged:
    rows = read.encoded(first, stop)
    within = range(int(read.numbers[first]), int(read.numbers[stop - 1]) + 1)
    return merge.merge(tx, rows, within, head=HEAD, tail=TAIL)


def _named(plan: MergePlan, merged: Merged) -> str:
    if merged.faults:
        return "failed"
    counted = {
        "created": merged.created,
        "updated": merged.updated,
        "unchanged": merged.unchanged,
        "skipped": merged.skipped,
    }
    return next((name for name, count in counted.items() if count), "skipped")


def _shown(array: pa.Array, at: int) -> Any:
    """A value as JSON shows it."""
    value = array[at].as_py()
    if isinstance(value, bytes):
        return str(UUID(bytes=value))
    if isinstance(value, date | datetime):
        return value.isoformat()
    return value[:_SHOWN] if isinstance(value, str) else value

"""Rows as a COPY sends them -> Arrow columns: of text, or of the types of their kinds."""

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.csv as pa_csv

from hubblewave_pipelines.core.entity import FieldKind
from hubblewave_pipelines.core.query import Column

# The others are text: decimals have no scale of their own, and uuids are read by everybody as text.
_TYPES: Mapping[FieldKind, pa.DataType] = {
    FieldKind.INTEGER: pa.int64(),
    FieldKind.NUMBER: pa.float64(),
    FieldKind.BOOLEAN: pa.bool_(),
    FieldKind.DATE: pa.date32(),
    FieldKind.DATETIME: pa.timestamp("us", tz="UTC"),
}


def schema_of(columns: Sequence[Column], *, typed: bool) -> pa.Schema:
    """A field per column; the kind that it has here is in its metadata."""
    return pa.schema(
        [
            pa.field(
                column.name,
                _TYPES.get(column.kind, pa.string()) if typed else pa.string(),
                nullable=column.nullable,
                metadata={"hubblewave.type": str(column.kind)},
            )
            for column in columns
        ]
    )


def arrow_batches(
    blocks: Iterable[tuple[bytes, int]], columns: Sequence[Column], *, typed: bool
) -> Iterator[pa.Table]:
    """A table per block. An empty cell is null and `""` is an empty text."""
    schema = schema_of(columns, typed=typed)
    # Names may repeat no more than Arrow allows; the schema brings the real ones.
    names = [f"v{number}" for number in range(len(columns))]
    types = dict(zip(names, schema.types, strict=True))
    parse = pa_csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False)
    convert = pa_csv.ConvertOptions(
        column_types=types,
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
        true_values=["true"],
        false_values=["false"],
    )
    for block, _ in blocks:
        read = pa_csv.ReadOptions(
            use_threads=False, column_names=names, block_size=max(len(block) + 1, 64)
        )
        table = pa_csv.read_csv(io.BytesIO(block), read, parse, convert)
        yield pa.Table.from_arrays(table.columns, schema=schema)

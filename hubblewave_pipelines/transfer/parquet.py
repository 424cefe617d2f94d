"""Parquet files as records: row group by row group, each column as the text its type means."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hubblewave_pipelines.core.errors import ImportFailed
from hubblewave_pipelines.transfer.cells import MalformedRow
from hubblewave_pipelines.transfer.content import plain_file
from hubblewave_pipelines.transfer.csv_header import column_names
from hubblewave_pipelines.transfer.formats import Source
from hubblewave_pipelines.transfer.records import Step
from hubblewave_pipelines.transfer.rows import CHUNK_BYTES

_BATCH = 4_096
_BROKEN = (pa.ArrowException, OSError, ValueError)


@contextmanager
def _opened(path: Path, source: Source, max_inflated: int) -> Iterator[pq.ParquetFile]:
    with plain_file(path, source.compression, max_inflated=max_inflated) as plain:
        try:
            with pq.ParquetFile(plain, memory_map=False, pre_buffer=False) as file:
                yield file
        except MemoryError:
            raise
        except _BROKEN as error:
            said = str(error).splitlines()[0][:200]
            raise ImportFailed(f"The Parquet file cannot be read: {said}.") from error


def inspected(path: Path, source: Source, max_inflated: int) -> Source:
    """The source with the columns of its schema."""
    with _opened(path, source, max_inflated) as file:
        return replace(source, columns=column_names(file.schema_arrow.names))


def steps(
    path: Path,
    source: Source,
    columns: Sequence[str],
    nulls: frozenset[str],
    after: int,
    chunk_rows: int,
    max_inflated: int,
) -> Iterator[Step]:
    """Steps of at most `chunk_rows` rows after row `after`; rows count over all row groups."""
    size = path.stat().st_size
    with _opened(path, source, max_inflated) as file:
        total, kept = max(file.metadata.num_rows, 1), list[pa.Table]()
        start = last = after
        for batch in _batches(file, columns, after, min(_BATCH, chunk_rows)):
            table = pa.Table.from_batches([batch])
            texts = [_texts(table.column(name)) for name in columns]
            table = pa.table([_without(column, nulls) for column in texts], names=list(columns))
            while table.num_rows:
                part = table.slice(0, chunk_rows - (last - start))
                kept.append(part)
                last += part.num_rows
                table = table.slice(part.num_rows)
                if last - start == chunk_rows or sum(k.nbytes for k in kept) >= CHUNK_BYTES:
                    yield _step(kept, start, last, size * last // total)
                    kept, start = [], last
        if kept:
            yield _step(kept, start, last, size)


def _batches(
    file: pq.ParquetFile, columns: Sequence[str], after: int, rows: int
) -> Iterator[pa.RecordBatch]:
    """Batches of rows after `after`; row groups that lie before are not read."""
    behind = 0
    for group in range(file.num_row_groups):
        count = file.metadata.row_group(group).num_rows
        if behind + count > after:
            for batch in file.iter_batches(
                rows, row_groups=[group], columns=list(columns), use_threads=False
            ):
                skipped = max(0, min(after - behind, batch.num_rows))
                behind += batch.num_rows
                if skipped < batch.num_rows:
                    yield batch.slice(skipped)
        else:
            behind += count


def _step(kept: list[pa.Table], after: int, last: int, done: int) -> Step:
    table = pa.concat_tables(kept).combine_chunks()
    numbers = np.arange(after + 1, last + 1, dtype=np.int64)
    malformed: list[MalformedRow] = []
    wrong = np.zeros(len(numbers), bool)
    for name, column in zip(table.column_names, table.columns, strict=True):
        if not pa.types.is_binary(column.type) and _is_valid(column):
            continue
        octets = [value for chunk in column.chunks for value in chunk.view(pa.binary()).to_pylist()]
        for index, value in enumerate(octets):
            if value is not None and not wrong[index] and not _is_text(value):
                wrong[index] = True
                message = f"{name} holds bytes that are no text in UTF-8"
                malformed.append(MalformedRow(int(numbers[index]), "encoding", message, ""))
    if wrong.any():
        numbers, table = numbers[~wrong], table.filter(pa.array(~wrong))
    table = pa.table([column.cast(pa.string()) for column in table.columns], table.column_names)
    return Step(after, last, last - after, done, table, numbers, malformed)


def _is_valid(column: pa.ChunkedArray) -> bool:
    """Whether a column of text is one: a file can say so and hold anything."""
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _is_text(value: bytes) -> bool:
    try:
        return "\0" not in value.decode()
    except UnicodeDecodeError:
        return False


def _without(column: pa.ChunkedArray, nulls: frozenset[str]) -> pa.ChunkedArray:
    if not nulls or not pa.types.is_string(column.type):
        return column
    named = pc.is_in(column, value_set=pa.array(sorted(nulls), pa.string()))
    return pc.if_else(named, pa.scalar(None, pa.string()), column)


def _texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column as text; binary stays, as it may not be text."""
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        if kind.extension_name == "arrow.uuid":
            return _each(column, lambda value: str(value))
        column, kind = pa.chunked_array([c.storage for c in column.chunks]), kind.storage_type
    if pa.types.is_dictionary(kind):
        return _texts(column.cast(kind.value_type))
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return column
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return column.cast(pa.string())
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return column.cast(pa.binary())
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_date(kind):
        return column.cast(pa.string())
    if pa.types.is_timestamp(kind):
        return _moments(column)
    if pa.types.is_floating(kind):
        return _floats(column)
    return _each(column, _text)


def _floats(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The shortest text that means the same number, without an exponent."""
    texts = column.cast(pa.string())
    odd = pc.match_substring(texts, "e")
    if not pc.any(odd).as_py():
        return pc.replace_substring_regex(texts, r"\.0$", "")
    plain = [None if t is None else _plain(t) for t in texts.to_pylist()]
    return pa.chunked_array([pa.array(plain, pa.string())])


def _plain(text: str) -> str:
    return format(Decimal(text), "f") if "e" in text else text.removesuffix(".0")


def _moments(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """ISO 8601; a fraction is as long as it must be, so that nothing below it is lost."""
    bare = column.cast(pa.timestamp(column.type.unit)) if column.type.tz else column
    texts = pc.replace_substring_regex(bare.cast(pa.string()), r"(\.[0-9]*?)0+$", r"\1")
    texts = pc.replace_substring_regex(texts, r"\.$", "")
    return pc.binary_join_element_wise(texts, "Z", "") if column.type.tz else texts


def _each(column: pa.ChunkedArray, read: Any) -> pa.ChunkedArray:
    found = [None if value is None else read(value) for value in column.to_pylist()]
    return pa.chunked_array([pa.array(found, pa.string())])


def _text(value: Any) -> str:
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    return _json(value) if isinstance(value, list | dict | tuple) else str(value)


def _json(value: Any) -> str:
    """Nested values as JSON text, decimals with all their digits."""
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, dict):
        pairs = (f"{json.dumps(str(k), ensure_ascii=False)}: {_json(v)}" for k, v in value.items())
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_json, value))}]"
    if value is None or isinstance(value, bool | int | float | str):
        return json.dumps(value, ensure_ascii=False)
    return json.dumps(str(value) if isinstance(value, UUID) else _text(value), ensure_ascii=False)

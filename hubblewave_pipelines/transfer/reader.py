"""The reading process: `python -m hubblewave_pipelines.transfer.reader`, with little memory.

Parsers of foreign formats run here and nowhere else. One request comes as JSON by standard input;
the answer goes as JSON (`inspect`), or as an Arrow stream of steps (`read`), to standard output.
"""

import json
import resource
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from hubblewave_pipelines.core.errors import ImportFailed
from hubblewave_pipelines.core.import_options import parse_options
from hubblewave_pipelines.core.reading import Reading
from hubblewave_pipelines.transfer.formats import Format, Source, recognised
from hubblewave_pipelines.transfer.records import NUMBERS, Step, steps

SAMPLE = 1_000  # records that are looked at for their columns


def main() -> None:
    request = json.load(sys.stdin)
    _bound(request["memory"], request["cpu"])
    pa.set_cpu_count(1)
    out = sys.stdout.buffer
    if request["do"] == "inspect":
        try:
            answer: dict[str, Any] = {"source": inspected(request).as_json()}
        except (ImportFailed, MemoryError) as error:
            answer = {"failed": _said(error)}
        out.write(json.dumps(answer).encode())
    else:
        _send(_read(request), out)


def _bound(memory: int, cpu: int) -> None:
    """Beyond these an allocation fails, and the process ends."""
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _said(error: BaseException) -> str:
    if isinstance(error, ImportFailed):
        return error.detail
    return "The file needs more memory to read than a reader may take."


def inspected(request: dict[str, Any]) -> Source:
    path, cap = Path(request["path"]), request["maxInflated"]
    options = parse_options(request["options"], Reading())
    source = recognised(path, request["name"], options, max_inflated=cap)
    # Each parser is loaded where its format is read only: most of the start is spent on them.
    match source.format:
        case Format.CSV:
            return source
        case Format.JSON | Format.NDJSON:
            from hubblewave_pipelines.transfer import json_records

            source = json_records.pathed(source, options)
            return json_records.inspected(path, source, SAMPLE, cap)
        case Format.XML:
            from hubblewave_pipelines.transfer import xml_records

            return xml_records.inspected(path, source, options, SAMPLE, cap)
        case Format.PARQUET:
            from hubblewave_pipelines.transfer import parquet

            return parquet.inspected(path, source, cap)
        case _:
            from hubblewave_pipelines.transfer import workbooks

            return workbooks.inspected(path, source, options, cap)


def _read(request: dict[str, Any]) -> Iterator[Step]:
    path, cap = Path(request["path"]), request["maxInflated"]
    source = Source.of_json(request["source"])
    columns, after, rows = request["columns"], request["after"], request["chunkRows"]
    nulls = frozenset(request["nullValues"])
    match source.format:
        case Format.PARQUET:
            from hubblewave_pipelines.transfer import parquet

            return parquet.steps(path, source, columns, nulls, after, rows, cap)
        case Format.JSON | Format.NDJSON:
            from hubblewave_pipelines.transfer import json_records
            from hubblewave_pipelines.transfer.json_text import JsonRecords

            wanted = JsonRecords(columns, nulls, frozenset(request["documents"]))
            found = json_records.records(path, source, wanted, after, cap)
        case Format.XML:
            from hubblewave_pipelines.transfer import xml_records

            found = xml_records.records(path, source, columns, nulls, after, cap)
        case _:
            from hubblewave_pipelines.transfer import workbooks

            found = workbooks.records(path, source, columns, nulls, after, cap)
    raw = source.format in (Format.JSON, Format.NDJSON)
    return steps(found, columns, after=after, chunk_rows=rows, with_raw=raw)


def _send(made: Iterator[Step], out: BinaryIO) -> None:
    """Each step as one batch, then an empty one that tells how it ended."""
    schema, writer = pa.schema([(NUMBERS, pa.int64())]), None
    ended: dict[str, Any] = {"end": True}
    try:
        for step in made:
            numbers = pa.array(step.numbers, pa.int64())
            columns = [_whole(column) for column in step.table.columns]
            batch = pa.record_batch([numbers, *columns], [NUMBERS, *step.table.column_names])
            if writer is None:
                schema = batch.schema
                writer = pa.ipc.new_stream(out, schema)
            told = {
                "after": step.after,
                "last": step.last,
                "rows": step.rows,
                "bytes": step.bytes_done,
                "malformed": [asdict(row) for row in step.malformed],
            }
            writer.write_batch(batch, custom_metadata={"step": json.dumps(told)})
            out.flush()
    except (ImportFailed, MemoryError) as error:
        ended = {"failed": _said(error)}
    writer = writer or pa.ipc.new_stream(out, schema)
    nothing = pa.RecordBatch.from_pylist([], schema=schema)
    writer.write_batch(nothing, {"step": json.dumps(ended)})
    writer.close()
    out.flush()


def _whole(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


if __name__ == "__main__":
    main()

"""The chunks of a file that is read in a process of its own, as they arrive."""

import json
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from hubblewave_pipelines.core.errors import ImportFailed
from hubblewave_pipelines.transfer.apart import ENVIRONMENT, PROGRAM, Limits, died, request
from hubblewave_pipelines.transfer.cells import MalformedRow
from hubblewave_pipelines.transfer.formats import Source
from hubblewave_pipelines.transfer.records import ALL_COLUMNS, NUMBERS, Step
from hubblewave_pipelines.transfer.rows import Chunk

_CUT = (pa.ArrowInvalid, EOFError, OSError)


class ApartFile:
    """A file with the columns that are wanted of it, read by another process."""

    def __init__(
        self,
        path: Path,
        source: Source,
        limits: Limits,
        *,
        columns: Sequence[str],
        null_values: Sequence[str] = (),
        documents: Sequence[str] = (),
    ) -> None:
        self.path = path
        self.source = source
        self.limits = limits
        self._nulls = list(null_values)
        self._documents = list(documents)
        wanted = list(dict.fromkeys(columns))
        if len(source.columns) <= ALL_COLUMNS:
            wanted = list(dict.fromkeys([*source.columns, *wanted]))
        self._columns = wanted

    def chunks(
        self, *, chunk_rows: int, offset: int | None = None, first_row: int = 1
    ) -> Iterator[Chunk]:
        asked = {
            **request("read", self.path, self.limits, self.limits.read_seconds),
            "source": self.source.as_json(),
            "columns": self._columns,
            "nullValues": self._nulls,
            "documents": self._documents,
            "after": offset or 0,
            "chunkRows": chunk_rows,
        }
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(  # noqa: S603 - our own program, no shell
                PROGRAM,
                env=ENVIRONMENT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
            )
            try:
                assert process.stdin is not None
                assert process.stdout is not None
                with process.stdin:
                    process.stdin.write(json.dumps(asked).encode())
                try:
                    yield from _arriving(pa.PythonFile(process.stdout, "r"))
                except _CUT as error:
                    code = process.wait()
                    said.seek(0)
                    raise died(code, said.read(), self.source, self.limits) from error
            finally:
                process.kill()
                process.wait()
                process.stdout.close()  # type: ignore[union-attr]


def _arriving(stream: pa.PythonFile) -> Iterator[Chunk]:
    """Raises ImportFailed when the other process says so, and EOFError when it says nothing."""
    batches = pa.ipc.open_stream(stream)
    while True:
        try:
            batch, metadata = batches.read_next_batch_with_custom_metadata()
        except StopIteration as error:
            raise EOFError("the reader ended early") from error
        told = json.loads(metadata[b"step"])
        if "failed" in told:
            raise ImportFailed(told["failed"])
        if "end" in told:
            return
        table = pa.Table.from_batches([batch])
        yield Step(
            after=told["after"],
            last=told["last"],
            rows=told["rows"],
            bytes_done=told["bytes"],
            numbers=table.column(NUMBERS).to_numpy(),
            table=table.drop_columns([NUMBERS]),
            malformed=[MalformedRow(**row) for row in told["malformed"]],
        ).chunk()

"""The CSV of a bulk answer as it comes -> batches of columns, embedded line breaks and all."""

import io
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.csv as arrow_csv

from hubblewave_pipelines.core.errors import PartialAnswer

_BLOCK = 8 << 20  # no record may be longer
Columns = dict[str, list[str | None]]


def batches(blocks: Iterator[bytes], most: int) -> Iterator[Columns]:
    """Up to `most` records at a time, cells as texts; empty ones are null, as Salesforce means them.

    Raises PartialAnswer for what is no CSV, and what `blocks` raises.
    """
    source = _Blocks(blocks)
    try:
        header = source.first_line()
        if not header:
            raise PartialAnswer("Salesforce answered with no table at all.")
        names = [name.strip('"') for name in header.decode().rstrip("\r\n").split(",")]
        reader = arrow_csv.open_csv(
            pa.PythonFile(io.BufferedReader(source, _BLOCK), mode="r"),  # Arrow takes short reads
            read_options=arrow_csv.ReadOptions(block_size=_BLOCK, use_threads=False),
            parse_options=arrow_csv.ParseOptions(newlines_in_values=True),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
            ),
        )
        for batch in reader:
            for start in range(0, batch.num_rows, most):
                part = batch.slice(start, most)
                yield {
                    name: cells.to_pylist()
                    for name, cells in zip(part.schema.names, part.columns, strict=True)
                }
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        if source.failed is not None:
            raise source.failed from error
        raise PartialAnswer(f"A table of Salesforce cannot be read: {error}") from error


class _Blocks(io.RawIOBase):
    """Blocks as a file. `failed` keeps what reading them raised: Arrow shows errors as its own."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._left = memoryview(b"")
        self.failed: Exception | None = None

    def first_line(self) -> bytes:
        """Looked at, not taken."""
        line = b""
        while b"\n" not in line:
            block = next(self._blocks, b"")
            if not block:
                break
            line += block
        self._left = memoryview(line)
        return line.partition(b"\n")[0]

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._left:
            try:
                self._left = memoryview(next(self._blocks, b""))
            except Exception as error:
                self.failed = error
                raise
        taken = min(len(buffer), len(self._left))
        buffer[:taken] = self._left[:taken]
        self._left = self._left[taken:]
        return taken

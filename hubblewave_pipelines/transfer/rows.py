"""What every reader of a file gives: chunks of rows as text, exact numbers, malformed rows aside."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hubblewave_pipelines.transfer.cells import MalformedRow

CHUNK_BYTES = 16 << 20


@dataclass(frozen=True)
class Chunk(ABC):
    """Consecutive rows. `table` holds those of the right form, `row_numbers` their numbers.

    `offset_end` is a place to resume from; only the reader of the format understands it. Numbers
    may have gaps (empty rows of a sheet), so the next chunk begins at `next_row`.
    """

    offset_start: int
    offset_end: int
    first_row: int
    next_row: int
    rows: int  # rows of any form
    bytes_done: int  # of the uploaded file, for progress
    table: pa.Table  # a column of text for each column of the file that is wanted
    row_numbers: NDArray[np.int64]
    malformed: list[MalformedRow]

    @abstractmethod
    def raw(self, row: int) -> str:
        """The row as it is in the file; what could not be cut, up to RAW_SHOWN bytes."""


class Reader(Protocol):
    """A file that is read from any place at which one of its chunks ended."""

    def chunks(
        self, *, chunk_rows: int, offset: int | None = None, first_row: int = 1
    ) -> Iterator[Chunk]:
        """Chunks of at most `chunk_rows` rows or CHUNK_BYTES from `offset` to the end.

        Where chunks end depends on the file and these two numbers only. Raises ImportFailed when
        the file cannot be read to its end; the chunks before that place are given first.
        """

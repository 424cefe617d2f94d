"""One row of a file as cells of text, or why it has none."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

Cell: TypeAlias = str | None  # None: no value; the empty text is a value
RAW_SHOWN = 2_000  # bytes that are kept of a row that could not be cut


@dataclass(frozen=True, slots=True)
class MalformedRow:
    """A row that could not be read into cells. `row` counts data rows from 1."""

    row: int
    code: str
    message: str
    raw: str


@dataclass(frozen=True, slots=True)
class Record:
    """One record: its number in the file from 1, and its cells in the order of the columns.

    `raw` is how it is written in the file, where a reader can tell. `fault` (code, message) says
    why it has no cells.
    """

    number: int
    cells: Sequence[Cell] = ()
    raw: str | None = None
    fault: tuple[str, str] | None = None


def shown(record: bytes) -> str:
    """A record as text that PostgreSQL can hold, cut when it is long."""
    cut = record[:RAW_SHOWN].decode(errors="replace").replace("\0", "\ufffd")
    return cut + "..." if len(record) > RAW_SHOWN else cut

"""One JSON record as text cells: numbers as they are written, nothing guessed, nothing lost."""

import json
import re
from collections.abc import Sequence
from typing import Any

from hubblewave_pipelines.transfer.cells import Cell, Record, shown
from hubblewave_pipelines.transfer.csv_header import RECORD_LIMIT

_DEPTH = 64
_SURROGATE = re.compile("[\ud800-\udfff]")


class Number(str):
    """A number as the file writes it."""

    __slots__ = ()


class _Wrong(Exception):
    """Why a record cannot be read: (code, message)."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise _Wrong("key", f'the record holds "{twice[:60]}" twice')
    return found


def _constant(name: str) -> None:
    raise _Wrong("format", f"the record holds {name}, which is no JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=Number, parse_int=Number, parse_constant=_constant
)


def parsed(text: str) -> Any:
    """A JSON document with its numbers as Number."""
    return _DECODER.decode(text)


def _cell(value: Any) -> Cell:
    if value is None or type(value) is str or type(value) is Number:
        return value
    if value is True:
        return "true"
    return "false" if value is False else written(value)


def _document(value: Any) -> Cell:
    return None if value is None else written(value)


def written(value: Any, depth: int = 1) -> str:
    """A value as JSON text, its numbers as they were."""
    if depth > _DEPTH:
        raise _Wrong("depth", f"the record is nested more than {_DEPTH} levels deep")
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, dict):
        pairs = (f"{_quoted(key)}: {written(item, depth + 1)}" for key, item in value.items())
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, list):
        return f"[{', '.join(written(item, depth + 1) for item in value)}]"
    return _quoted(value)


def _quoted(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


class JsonRecords:
    """Texts of records to Records with the columns that are wanted. A cell is the text that a JSON
    text holds, but of a column in `documents` it is JSON as it stands there."""

    def __init__(
        self, columns: Sequence[str], nulls: frozenset[str], documents: frozenset[str] = frozenset()
    ) -> None:
        self.columns = columns
        self.nulls = nulls
        self._cells = [(name, _document if name in documents else _cell) for name in columns]

    def record(self, number: int, data: bytes) -> Record:
        if len(data) > RECORD_LIMIT:
            return refused(number, data, "too_long", f"is longer than {RECORD_LIMIT} bytes")
        try:
            text = data.decode()
            found = parsed(text)
            if not isinstance(found, dict):
                return refused(number, data, "type", "is no JSON object")
            cells = [cell(found.get(name)) for name, cell in self._cells]
            if "\\" in text:
                _check_texts(cells)
        except _Wrong as wrong:
            code, message = wrong.args
            return Record(number, raw=shown(data), fault=(code, message))
        except UnicodeDecodeError as error:
            message = f"cannot be decoded: byte {error.start + 1} is wrong"
            return refused(number, data, "encoding", message)
        except RecursionError:
            return refused(number, data, "depth", "is nested too deeply")
        except ValueError as error:
            return refused(number, data, "format", f"is no JSON: {error}")
        if self.nulls:
            cells = [None if cell in self.nulls else cell for cell in cells]
        return Record(number, cells, text)


def _check_texts(cells: list[Cell]) -> None:
    for cell in cells:
        if cell is None:
            continue
        if "\0" in cell:
            raise _Wrong("nul", "the record holds a NUL character")
        if _SURROGATE.search(cell):
            raise _Wrong("encoding", "the record holds half of a surrogate pair")


def refused(number: int, data: bytes, code: str, why: str) -> Record:
    return Record(number, raw=shown(data), fault=(code, f"the record {why}"))


def cells_of(text: str, columns: Sequence[str]) -> list[Cell] | None:
    """The cells of a record that was refused; None when it is no JSON object."""
    try:
        found = parsed(text)
        return [_cell(found.get(name)) for name in columns] if isinstance(found, dict) else None
    except (_Wrong, ValueError, RecursionError):
        return None

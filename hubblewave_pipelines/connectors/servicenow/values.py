"""ServiceNow's types and cells: everything is text there, and empty text is null."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from hubblewave_pipelines.core.entity import FieldKind
from hubblewave_pipelines.core.errors import PartialAnswer

KINDS: dict[str, FieldKind] = {
    "boolean": FieldKind.BOOLEAN,
    "integer": FieldKind.INTEGER,
    "longint": FieldKind.INTEGER,
    "long": FieldKind.INTEGER,
    "count": FieldKind.INTEGER,
    "order_index": FieldKind.INTEGER,
    "auto_increment": FieldKind.INTEGER,
    "decimal": FieldKind.DECIMAL,
    "float": FieldKind.DECIMAL,
    "double": FieldKind.DECIMAL,
    "percent_complete": FieldKind.DECIMAL,
    "glide_date_time": FieldKind.DATETIME,
    "due_date": FieldKind.DATETIME,
    "glide_date": FieldKind.DATE,
    "glide_duration": FieldKind.INTEGER,
    "timer": FieldKind.INTEGER,
    "email": FieldKind.EMAIL,
    "url": FieldKind.URL,
    "journal": FieldKind.LONGTEXT,
    "journal_input": FieldKind.LONGTEXT,
    "journal_list": FieldKind.LONGTEXT,
    "html": FieldKind.LONGTEXT,
    "translated_html": FieldKind.LONGTEXT,
    "script": FieldKind.LONGTEXT,
    "script_plain": FieldKind.LONGTEXT,
    "wiki_text": FieldKind.LONGTEXT,
    "glide_list": FieldKind.LONGTEXT,
    "json": FieldKind.JSON,
}
DURATIONS = frozenset({"glide_duration", "timer"})  # kept as instants after 1970
CURRENCIES = frozenset({"currency", "currency2", "price"})
LONG = 255
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - durations have no zone


def kind_of(internal_type: str, length: int | None, *, choices: bool) -> FieldKind:
    """Text for what is not known: every value is text on the wire."""
    if choices and internal_type in ("string", "choice", "integer"):
        return FieldKind.ENUM
    found = KINDS.get(internal_type)
    if found is None:
        return FieldKind.LONGTEXT if length is not None and length > LONG else FieldKind.TEXT
    return found


def column(
    name: str, kind: FieldKind | None, rows: Sequence[Mapping[str, Any]]
) -> list[str | None] | None:
    """One field of the rows in canonical form; None when none of them carries it.

    A row without it while others have it is one in which an ACL hides it: it reads as null.
    """
    cells = [row.get(name) for row in rows]
    if rows and None in cells and not any(name in row for row in rows):
        return None
    if any(isinstance(cell, dict) for cell in cells):  # links that were not left out
        cells = [cell.get("value") if isinstance(cell, dict) else cell for cell in cells]
    match kind:
        case FieldKind.DATETIME:
            return [f"{cell[:10]}T{cell[11:19]}Z" if cell else None for cell in cells]
        case FieldKind.DATE:
            return [cell[:10] if cell else None for cell in cells]
        case FieldKind.BOOLEAN:
            words = {"true": "true", "1": "true", "false": "false", "0": "false"}
            return [words.get(cell, cell) if cell else None for cell in cells]
        case FieldKind.INTEGER:
            return [_whole(cell) if cell else None for cell in cells]
        case _:
            return [cell or None for cell in cells]


def _whole(cell: str) -> str:
    """Seconds of a duration, which comes as an instant after 1970; other numbers as they are."""
    if len(cell) < 19 or cell[4] != "-":
        return cell
    try:
        return str(int((datetime.fromisoformat(cell) - _EPOCH).total_seconds()))
    except ValueError as error:
        raise PartialAnswer(f"A duration came as {cell!r}, which is none.") from error

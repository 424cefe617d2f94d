"""Salesforce's types and cells: the same canonical text whether they came as JSON or as CSV."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from hubblewave_pipelines.core.entity import FieldKind
from hubblewave_pipelines.core.errors import PartialAnswer

# Links often come without a scheme and picklists may hold what is not in their list: both are texts.
KINDS: dict[str, FieldKind] = {
    "boolean": FieldKind.BOOLEAN,
    "int": FieldKind.INTEGER,
    "long": FieldKind.INTEGER,
    "double": FieldKind.DECIMAL,
    "currency": FieldKind.DECIMAL,
    "percent": FieldKind.DECIMAL,
    "date": FieldKind.DATE,
    "datetime": FieldKind.DATETIME,
    "email": FieldKind.EMAIL,
    "textarea": FieldKind.LONGTEXT,
}
LEFT_OUT = {
    "address": "is made of fields that are read one by one",
    "location": "is made of fields that are read one by one",
    "base64": "holds a file, which is not copied",
    "complexvalue": "has no form that queries can give",
}
_ENDINGS = (".000+0000", ".000Z")


def kind_of(type_: str, *, restricted: bool) -> FieldKind:
    if type_ == "picklist" and restricted:
        return FieldKind.ENUM
    return KINDS.get(type_, FieldKind.TEXT)


def column(kind: FieldKind | None, cells: Sequence[Any]) -> list[str | None]:
    """Cells of one field in canonical form. Raises PartialAnswer for what is none of its kind."""
    try:
        match kind:
            case FieldKind.DATETIME:
                return [None if cell is None else _instant(cell) for cell in cells]
            case FieldKind.DECIMAL | FieldKind.INTEGER:
                return [None if cell is None else _plain(cell) for cell in cells]
            case FieldKind.BOOLEAN:
                return [None if cell is None else str(cell).lower() for cell in cells]
    except (ValueError, InvalidOperation) as error:
        raise PartialAnswer(f"A cell of Salesforce is no {kind}: {error}") from error
    return [cell if cell is None or isinstance(cell, str) else str(cell) for cell in cells]


def _instant(cell: str) -> str:
    if cell.endswith(_ENDINGS):
        return f"{cell[:19]}Z"
    utc = datetime.fromisoformat(cell).astimezone(UTC)
    return utc.isoformat().replace("+00:00", "Z")


def _plain(cell: Any) -> str:
    """12500000 for 1.25E7, 5 for 5.0: the digits that count, so that both ways of reading agree."""
    if isinstance(cell, int):
        return str(cell)
    text = cell if isinstance(cell, str) else str(cell)
    if "E" in text or "e" in text:
        text = format(Decimal(text), "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    Decimal(text)
    return "0" if text == "-0" else text

"""How Salesforce writes values: as JSON in REST answers, as text in the CSV of Bulk API 2.0."""

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import msgspec

from hubblewave_pipelines.sandboxes.salesforce.model import NUMBERS, Field, SObject
from hubblewave_pipelines.sandboxes.stage import Row

_encode = msgspec.json.Encoder().encode


def double(value: Decimal) -> str:
    """A number as Java's Double.toString has it, but with every digit: 5.0, 1.25E7."""
    if value == 0:
        return "0.0"
    size = value.adjusted()
    if -3 <= size < 7:
        text = format(value, "f")
        whole, _, rest = text.partition(".")
        return f"{whole}.{rest.rstrip('0') or '0'}"
    sign, digits, _ = value.as_tuple()
    text = "".join(map(str, digits)).rstrip("0")
    return f"{'-' if sign else ''}{text[0]}.{text[1:] or '0'}E{size}"


def json_of(field: Field) -> Callable[[Any], Any]:
    """Turns a value into what its JSON is made of."""
    if field.type == "datetime":
        return _stamp_json
    if field.type == "date":
        return lambda value: None if value is None else value.isoformat()
    if field.type in NUMBERS:
        return lambda value: None if value is None else msgspec.Raw(double(value).encode())
    return lambda value: value


def text_of(field: Field) -> Callable[[Any], str]:
    """Turns a value into its cell of CSV: null is empty, as an empty text is."""
    match field.type:
        case "datetime":
            return _stamp_csv
        case "date":
            return lambda value: "" if value is None else value.isoformat()
        case "boolean":
            return lambda value: "" if value is None else "true" if value else "false"
        case "int":
            return lambda value: "" if value is None else str(value)
        case kind if kind in NUMBERS:
            return lambda value: "" if value is None else double(value)
    return lambda value: value or ""


def records(
    sobject: SObject, fields: Sequence[Field], rows: Iterable[Row], version: str
) -> list[dict[str, Any]]:
    writers = [(field.name, json_of(field)) for field in fields]
    return [
        {
            "attributes": {
                "type": sobject.name,
                "url": f"/services/data/{version}/sobjects/{sobject.name}/{row['Id']}",
            },
            **{name: write(row.get(name)) for name, write in writers},
        }
        for row in rows
    ]


def encoded(body: Any) -> bytes:
    return _encode(body)


def table(
    fields: Sequence[Field], rows: Iterable[Row], delimiter: str = ",", ending: str = "\n"
) -> bytes:
    """CSV with a header, every cell quoted, as Bulk API 2.0 answers."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator=ending, quoting=csv.QUOTE_ALL)
    writer.writerow([field.name for field in fields])
    writers = [(field.name, text_of(field)) for field in fields]
    writer.writerows([write(row.get(name)) for name, write in writers] for row in rows)
    return out.getvalue().encode()


def _stamp_json(value: datetime | date | None) -> str | None:
    return None if value is None else f"{value.isoformat()[:19]}.000+0000"


def _stamp_csv(value: datetime | date | None) -> str:
    return "" if value is None else f"{value.isoformat()[:19]}.000Z"

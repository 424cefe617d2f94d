"""Cells of RFC_READ_TABLE: the texts in its work area -> canonical text, and conditions in its OPTIONS."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation

from hubblewave_pipelines.core.entity import FieldKind
from hubblewave_pipelines.core.errors import VendorRefused

LINE = 72  # characters in a line of OPTIONS
_WORD = re.compile(r"(?:[^\s']|'(?:[^']|'')*')+")
_STAMPS = ("TZNTSTMPS", "TZNTSTMPL", "TIMESTAMP", "TIMESTAMPL")


@dataclass(frozen=True, slots=True)
class Column:
    """A column by the dictionary. `type` is ABAP's letter, `width` what it takes in the work area."""

    name: str
    type: str  # C N D T P I F X g ...
    width: int
    key: bool = False
    label: str = ""
    decimals: int = 0
    domain: str = ""

    @property
    def is_stamp(self) -> bool:
        """A packed number YYYYMMDDhhmmss in UTC."""
        return self.type == "P" and self.domain in _STAMPS

    @property
    def kind(self) -> FieldKind:
        if self.is_stamp:
            return FieldKind.DATETIME
        match self.type:
            case "D":
                return FieldKind.DATE
            case "P" | "a" | "e":
                return FieldKind.DECIMAL if self.decimals else FieldKind.INTEGER
            case "I" | "b" | "s" | "8":
                return FieldKind.INTEGER
            case "F":
                return FieldKind.NUMBER
            case _:
                return FieldKind.LONGTEXT if self.width > 255 else FieldKind.TEXT

    def read(self, text: str) -> str | None:
        """Blanks behind a text are padding. NUMC keeps its zeros; initial dates and times are null."""
        match self.type:
            case "D":
                return _day(text)
            case "T":
                return _time(text)
            case "P" | "I" | "b" | "s" | "8" | "F" | "a" | "e":
                number = _number(text)
                return _stamp(number) if self.is_stamp else number
            case _:
                return text.rstrip(" ")

    def literal(self, text: str) -> str:
        """A canonical text in a condition."""
        if self.is_stamp:
            return re.sub(r"[-:TZ]", "", text)
        if self.type == "D":
            text = text.replace("-", "")
        elif self.type == "T":
            text = text.replace(":", "")
        elif self.kind in (FieldKind.DECIMAL, FieldKind.INTEGER, FieldKind.NUMBER):
            return text
        return "'" + text.replace("'", "''") + "'"


def _day(text: str) -> str | None:
    text = text.strip()
    if not text or text == "00000000":
        return None
    return f"{text[:4]}-{text[4:6]}-{text[6:8]}" if len(text) == 8 and text.isdigit() else text


def _time(text: str) -> str | None:
    text = text.strip()
    if not text:
        return None
    return f"{text[:2]}:{text[2:4]}:{text[4:6]}" if len(text) == 6 and text.isdigit() else text


def _number(text: str) -> str | None:
    """`1234.50-` is ABAP's way to write a negative number."""
    text = text.strip()
    if not text:
        return None
    if text.endswith("-"):
        text = "-" + text[:-1].strip()
    try:
        return format(Decimal(text), "f")
    except InvalidOperation:
        return text


def _stamp(number: str | None) -> str | None:
    if number is None or set(number) <= set("0."):
        return None
    whole, _, part = number.partition(".")
    try:
        moment = datetime.strptime(whole.rjust(14, "0"), "%Y%m%d%H%M%S")  # noqa: DTZ007 - UTC, said by the Z
    except ValueError:
        return number
    fraction = f".{part}".rstrip("0").rstrip(".") if part else ""
    return f"{moment.isoformat()}{fraction}Z"


def groups(columns: Sequence[Column], pinned: Sequence[Column], width: int) -> list[list[Column]]:
    """Columns cut into groups that fit the work area, each with the pinned ones in front.

    Raises VendorRefused when a column does not fit beside them.
    """
    base = sum(column.width for column in pinned)
    found: list[list[Column]] = [[]]
    used = base
    for column in columns:
        if column in pinned:
            continue
        if base + column.width > width:
            raise VendorRefused(
                f"The column {column.name} ({column.width} characters) does not fit into the"
                f" {width} of the work area beside the key; leave it out, or set readTable to a"
                " module with a wider one."
            )
        if used + column.width > width:
            found.append([])
            used = base
        found[-1].append(column)
        used += column.width
    return [[*pinned, *group] for group in found]


def option_lines(condition: str) -> list[str]:
    """A condition as lines of at most 72 characters, cut at blanks outside of quotes only.

    Raises VendorRefused when a literal alone is longer than a line.
    """
    lines: list[str] = []
    for word in _WORD.findall(condition):
        if len(word) > LINE:
            raise VendorRefused(f"A value of {len(word)} characters does not fit into a condition.")
        if lines and len(lines[-1]) + 1 + len(word) <= LINE:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def both(*conditions: str | None) -> str:
    given = [one for one in conditions if one]
    return " AND ".join(f"( {one} )" if len(given) > 1 else one for one in given)


def any_of(conditions: Iterable[str]) -> str:
    return " OR ".join(conditions)

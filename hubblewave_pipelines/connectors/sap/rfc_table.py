"""One table read by RFC_READ_TABLE: columns in groups, rows by ranges of the key, joined by the key."""

from collections.abc import Iterator, Sequence
from typing import Any

from hubblewave_pipelines.connectors.sap.rfc_cells import (
    Column,
    any_of,
    both,
    groups,
    option_lines,
)
from hubblewave_pipelines.connectors.sap.rfc_connection import Rfc
from hubblewave_pipelines.core.errors import PartialAnswer, UnknownStream, VendorRefused

Key = tuple[str, ...]
Cells = tuple[str | None, ...]

_WIDTHS = {"RFC_READ_TABLE": 512}
_WIDE = 1_997  # of /BODS/RFC_READ_TABLE and /SAPDS/RFC_READ_TABLE
_ATTEMPTS = 3  # to read a row whole while it is being changed
# the client, which SAP adds by itself, and what has no fixed length
_UNREADABLE = frozenset({"CLNT", "STRG", "SSTR", "RSTR", "LCHR", "LRAW", "GGM1"})
_TERMS = 50  # keys in one condition


class TableReader:
    """Reads of one table. The client column is SAP's own and no part of the key."""

    def __init__(self, rfc: Rfc, name: str, module: str) -> None:
        self.rfc = rfc
        self.name = name
        self.module = module
        self.width = _WIDTHS.get(module, _WIDE)
        self._columns: tuple[Column, ...] | None = None
        self._label = ""

    @property
    def columns(self) -> tuple[Column, ...]:
        """What the dictionary says. Raises UnknownStream."""
        if self._columns is None:
            self._columns = tuple(self._described())
        return self._columns

    @property
    def keys(self) -> tuple[Column, ...]:
        return tuple(column for column in self.columns if column.key)

    def column(self, name: str) -> Column:
        found = next((column for column in self.columns if column.name == name), None)
        if found is None:
            raise UnknownStream(f"The table {self.name} has no column {name!r}.")
        return found

    def _described(self) -> Iterator[Column]:
        """Widths are those of the longest form, so that groups fit whatever the module writes.
        Strings without a length stand in no work area and are left out.
        """
        try:
            dictionary = self.rfc.call("DDIF_FIELDINFO_GET", TABNAME=self.name)["DFIES_TAB"]
        except VendorRefused as error:
            raise UnknownStream(f"The table {self.name} cannot be read: {error.detail}") from error
        for line in dictionary:
            if line["DATATYPE"] in _UNREADABLE:
                continue
            yield Column(
                str(line["FIELDNAME"]).strip(),
                str(line["INTTYPE"]).strip() or "C",
                max(int(line["LENG"]), int(line["OUTPUTLEN"])),
                key=line["KEYFLAG"] == "X",
                label=str(line.get("FIELDTEXT", "")).strip(),
                decimals=int(line.get("DECIMALS", 0)),
                domain=str(line.get("DOMNAME", "")).strip(),
            )

    def _read(self, columns: Sequence[Column], condition: str) -> dict[str, Any]:
        return self.rfc.call(
            self.module,
            QUERY_TABLE=self.name,
            OPTIONS=[{"TEXT": line} for line in option_lines(condition)],
            FIELDS=[{"FIELDNAME": column.name} for column in columns],
        )

    def rows(self, columns: Sequence[Column], condition: str) -> list[Cells]:
        """Rows in no order. Cells are cut out by the offsets that come with them: a delimiter could
        stand in the data as well.
        """
        result = self._read(columns, condition)
        places = {
            str(line["FIELDNAME"]).strip(): (int(line["OFFSET"]), int(line["LENGTH"]))
            for line in result["FIELDS"]
        }
        try:
            cuts = [(column, *places[column.name]) for column in columns]
        except KeyError as error:
            raise PartialAnswer(f"{self.module} left out the column {error}.") from error
        return [
            tuple(column.read(line["WA"][at : at + size]) for column, at, size in cuts)
            for line in result["DATA"]
        ]

    def all_keys(self, condition: str) -> list[Key]:
        """Every key that fits, sorted: RFC_READ_TABLE has no order, so that pages by row number
        (ROWSKIPS) repeat and skip rows.
        """
        found = {tuple(str(cell or "") for cell in row) for row in self.rows(self.keys, condition)}
        return sorted(found)

    def records(
        self,
        columns: Sequence[Column],
        keys: Sequence[Key],
        version: Column | None,
        *,
        condition: str = "",
        together: bool = False,
    ) -> dict[Key, dict[str, str | None]]:
        """These records with these columns, each whole: its parts agree in `version`, the change
        column. A record that is gone, or fits the condition no more, is left out. `together` says
        that the keys follow each other, so that a range finds them; those that the range did not
        bring (the database may sort otherwise than we do) are asked for by name.
        """
        pinned = [*self.keys, *([version] if version is not None and not version.key else [])]
        parts = groups(columns, pinned, self.width)
        wanted = set(keys)
        found: dict[Key, dict[str, str | None]] = {}
        if together and keys:
            span = _range(self.keys, min(keys), max(keys))
            self._joined(parts, [span], condition, wanted, version, found)
        left = wanted - found.keys()
        for _ in range(_ATTEMPTS):
            if not left:
                return found
            left = self._joined(parts, self._named(sorted(left)), condition, wanted, version, found)
        raise PartialAnswer(f"{self.name}: rows change faster than their columns can be read.")

    def _joined(
        self,
        parts: Sequence[Sequence[Column]],
        ranges: Sequence[str],
        condition: str,
        wanted: set[Key],
        version: Column | None,
        found: dict[Key, dict[str, str | None]],
    ) -> set[Key]:
        """Reads every group and joins them into `found`; gives the keys whose groups disagree."""
        seen: list[dict[Key, dict[str, str | None]]] = []
        for part in parts:
            rows: dict[Key, dict[str, str | None]] = {}
            for span in ranges:
                for cells in self.rows(part, both(span, condition)):
                    row = dict(zip((column.name for column in part), cells, strict=True))
                    key = tuple(str(row[column.name] or "") for column in self.keys)
                    if key in wanted:
                        rows[key] = row
            seen.append(rows)
        torn: set[Key] = set()
        for key in seen[0].keys() | set().union(*(rows.keys() for rows in seen)):
            pieces = [rows.get(key) for rows in seen]
            whole = [piece for piece in pieces if piece is not None]
            agree = version is None or len({piece[version.name] for piece in whole}) == 1
            if len(whole) == len(pieces) and agree:
                found[key] = {name: cell for piece in whole for name, cell in piece.items()}
            else:
                torn.add(key)
        return torn

    def _named(self, keys: Sequence[Key]) -> list[str]:
        terms = [
            both(*(f"{c.name} = {c.literal(v)}" for c, v in zip(self.keys, key, strict=True)))
            for key in keys
        ]
        return [any_of(terms[at : at + _TERMS]) for at in range(0, len(terms), _TERMS)]


def _range(columns: Sequence[Column], low: Key, high: Key) -> str:
    """All keys from `low` to `high`, in the order of the columns."""
    if low == high:
        return both(*(f"{c.name} = {c.literal(v)}" for c, v in zip(columns, low, strict=True)))
    return both(_edge(columns, low, ">"), _edge(columns, high, "<"))


def _edge(columns: Sequence[Column], key: Key, beyond: str) -> str:
    """`A > 'x' OR ( A = 'x' AND ( B >= 'y' ) )`"""
    first, value = columns[0], columns[0].literal(key[0])
    if len(columns) == 1:
        return f"{first.name} {beyond}= {value}"
    rest = _edge(columns[1:], key[1:], beyond)
    return f"{first.name} {beyond} {value} OR ( {first.name} = {value} AND ( {rest} ) )"

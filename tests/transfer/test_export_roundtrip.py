"""Export then import is the identity: for every format and every type of field."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from hubblewave_pipelines.core.entity import FieldKind
from tests import strategies
from tests.transfer.conftest import Exporting

FORMATS = ("csv", "tsv", "xlsx", "json", "ndjson", "xml", "parquet")
KINDS = [kind for kind in FieldKind]
NAMES = [f"v{kind.value.capitalize()}" for kind in KINDS]
FIELDS: list[dict[str, Any]] = [
    {"name": "key", "type": "integer", "required": True, "unique": True},
    *(
        {
            "name": name,
            "type": kind.value,
            **({"enum": list(strategies.ENUM)} if kind is FieldKind.ENUM else {}),
        }
        for name, kind in zip(NAMES, KINDS, strict=True)
    ),
]
TWIN = {"name": "Twin", "pluralName": "Twins", "fields": FIELDS}
THING = {"name": "Thing", "pluralName": "Things", "fields": FIELDS}
# What a format has no way to say: a cell of a sheet is empty or has a text of at least one
# character, and its lines end in LF; XML has no control characters.
TEXT_KINDS = (FieldKind.TEXT, FieldKind.LONGTEXT)


def value(kind: FieldKind) -> st.SearchStrategy[object]:
    """Null, or a value as the cell of a CSV file; empty texts and line ends among the texts."""
    found = strategies.values(kind).map(lambda v: strategies.cell(kind, v))
    if kind in TEXT_KINDS:
        found = found | st.sampled_from(
            ["", " ", "=1+1", "a\nb", '"', "\\", "null", "'x", "_x0041_"]
        )
    return st.none() | found


rows = st.lists(st.tuples(*(value(kind) for kind in KINDS)), min_size=10, max_size=30)


def held(format: str, kind: FieldKind, cell: object) -> bool:
    """Whether the format can say this value."""
    if cell is None or kind not in (*TEXT_KINDS, FieldKind.JSON):
        return True
    text = str(cell)
    if format == "xlsx" and (text == "" or "\r" in text):
        return False
    if format in ("xlsx", "xml"):
        return (
            all(
                c in "\n"
                or (
                    (c.isprintable() or not c.isascii())
                    and c not in "\x7f\ufffe\uffff"
                    and not "\x80" <= c <= "\x9f"
                )
                for c in text
            )
            and "_x" not in text
        )
    return True


def written(values: list[tuple[object, ...]]) -> str:
    text = io.StringIO()
    text.write(",".join(["key", *NAMES]) + "\n")
    for number, row in enumerate(values):
        cells = ["" if c is None else '"' + str(c).replace('"', '""') + '"' for c in row]
        text.write(f"{number}," + ",".join(cells) + "\n")
    return text.getvalue()


@pytest.mark.parametrize("format", FORMATS)
@settings(
    max_examples=2,
    phases=[Phase.explicit, Phase.generate],  # a smaller example would take a database each
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(found=rows)
def test_export_then_import_is_the_identity(
    exporting: Exporting, tmp_path: Path, format: str, found: list[tuple[object, ...]]
) -> None:
    if exporting.importing.catalog is None:
        exporting.importing.define(THING, TWIN)
    exporting.importing.empty()
    kept = [
        tuple(c if held(format, k, c) else None for k, c in zip(KINDS, row, strict=True))
        for row in found
    ]
    loaded = exporting.importing.load("Thing", written(kept))
    assert loaded.failed == 0, loaded.first_errors
    outcome = exporting.run(
        exporting.ask(
            "Thing",
            format,
            fields=["key", *NAMES],
            options={"raw": True} if format in ("csv", "tsv", "xlsx") else None,
        )
    )
    again = exporting.importing.load("Twin", Path(outcome.path))
    assert again.failed == 0, again.first_errors
    expected = sorted(exporting.importing.records("Thing"), key=lambda r: r["key"])
    assert sorted(exporting.importing.records("Twin"), key=lambda r: r["key"]) == expected


def test_what_a_spreadsheet_shows_differently_is_only_text(exporting: Exporting) -> None:
    """Guarded, a text that would be evaluated comes back with its apostrophe, and nothing else."""
    exporting.importing.define(THING, TWIN)
    exporting.importing.load("Thing", written([("=1", "x", "-5", *[None] * (len(KINDS) - 3))]))
    data = exporting.file("Thing", fields=["key", *NAMES])
    [row] = list(csv.DictReader(io.StringIO(data.decode())))
    assert (row["vText"], row["vLongtext"], row["vInteger"]) == ("'=1", "x", "-5")

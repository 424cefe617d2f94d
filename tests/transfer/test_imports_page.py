"""docs/reference/imports.md says what the code does: reject codes and the table of strategies."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.transfer.conftest import Importing

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reference/imports.md").read_text()
REFUSING = (
    "hubblewave_pipelines/core/values.py",
    "hubblewave_pipelines/storage/merging.py",
    "hubblewave_pipelines/transfer/chunks.py",
    "hubblewave_pipelines/transfer/coerce.py",
    "hubblewave_pipelines/transfer/csv.py",
    "hubblewave_pipelines/transfer/json_text.py",
    "hubblewave_pipelines/transfer/parquet.py",
    "hubblewave_pipelines/transfer/scanning.py",
    "hubblewave_pipelines/transfer/transforming.py",
    "hubblewave_pipelines/transfer/xml_records.py",
)
PLACE_OF_CODE = {
    "Refused": 0,
    "_Wrong": 0,
    "CellFault": 1,
    "MalformedRow": 1,
    "RowFault": 2,
    "refused": 2,
}


def constants(node: ast.AST) -> Iterator[str]:
    for found in ast.walk(node):
        if isinstance(found, ast.Constant) and isinstance(found.value, str):
            yield found.value


def codes(tree: ast.AST) -> Iterator[str]:
    """Codes given to a refusal, named in a Reason, or assigned to `code`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            place = PLACE_OF_CODE.get(node.func.id)
            if (
                place is not None
                and len(node.args) > place
                and isinstance(node.args[place], ast.Constant)
            ):
                yield from constants(node.args[place])
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "code":
            if isinstance(node.value, ast.IfExp):
                yield from constants(node.value.body)
                yield from constants(node.value.orelse)
        elif isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation) == "Reason":
            assert isinstance(node.value, ast.Tuple)
            yield from constants(node.value.elts[0])
        elif isinstance(node, ast.FunctionDef) and node.returns is not None:
            if ast.unparse(node.returns) == "Reason":
                for inner in ast.walk(node):
                    if isinstance(inner, ast.Return) and isinstance(inner.value, ast.Tuple):
                        yield from constants(inner.value.elts[0])


def test_every_code_of_a_refused_row_is_on_the_page_and_no_other() -> None:
    known = {code for path in REFUSING for code in codes(ast.parse((ROOT / path).read_text()))}
    table = PAGE[PAGE.index("## Why a row is refused") :]
    told = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert told == sorted(known)


@pytest.mark.parametrize(
    ("options", "after", "counted"),
    [
        ({"duplicateStrategy": "skip"}, ("Ann", 5), "skipped"),
        ({"duplicateStrategy": "update"}, (None, 7), "updated"),
        ({"duplicateStrategy": "merge"}, ("Ann", 7), "updated"),
        ({"duplicateStrategy": "error"}, ("Ann", 5), "failed"),
        ({"detectDuplicates": False}, ("Ann", 5), "failed"),
    ],
    ids=["skip", "update", "merge", "error", "none"],
)
def test_the_example_of_each_strategy_is_true(
    importing: Importing, options: dict[str, Any], after: tuple[str | None, int], counted: str
) -> None:
    fields = [
        {"name": "code", "type": "text", "unique": True},
        {"name": "name", "type": "text"},
        {"name": "stock", "type": "integer"},
    ]
    importing.define({"name": "Item", "pluralName": "Items", "fields": fields})
    importing.load("Item", "code,name,stock\nA,Ann,5\n")
    outcome = importing.load("Item", "code,name,stock\nA,,7\n", uniqueFields=["code"], **options)
    assert getattr(outcome, counted) == 1
    assert [(r["name"], r["stock"]) for r in importing.records("Item")] == [after]

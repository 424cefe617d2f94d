"""Transforms and expressions of a mapping: what each does, what is refused, and their JSON Schema."""

import json
import uuid
from decimal import Decimal
from typing import Any

import jsonschema
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubblewave_pipelines.core.definition import parse_definition
from hubblewave_pipelines.core.entity import Catalog, FieldKind
from hubblewave_pipelines.core.expression_values import Unusable
from hubblewave_pipelines.core.expressions import FUNCTIONS, Wrong, parse_expression
from hubblewave_pipelines.core.mapping import FieldMap, as_json, parse_mapping
from hubblewave_pipelines.core.reading import Reading
from hubblewave_pipelines.core.transform_schema import TRANSFORMS, mapping_schema
from hubblewave_pipelines.transfer.transforming import transformed

FIELDS = [
    {"name": kind.value, "type": kind.value} for kind in FieldKind if kind is not FieldKind.ENUM
]
HEADER = ("a", "b", "Unit price", "quantity", "Street", "City", "First", "Last", "Mobile", "Phone")


def parsed(mapping: Any, header: tuple[str, ...] = HEADER) -> tuple[tuple[FieldMap, ...], Reading]:
    nothing = Catalog(uuid.UUID(int=1), 1, ())
    body = {"name": "Thing", "pluralName": "Things", "fields": FIELDS}
    entity = parse_definition(body, tenant_schema="t_1", catalog=nothing)
    catalog = Catalog(uuid.UUID(int=1), 2, (entity,))
    reading = Reading()
    maps = parse_mapping(mapping, entity=entity, catalog=catalog, header=header, reading=reading)
    return maps, reading


def one(transform: Any, target: str = "text", source: str | None = "a") -> FieldMap:
    item = {"targetField": target, "transform": transform}
    maps, reading = parsed([item if source is None else {"sourceField": source, **item}])
    assert not reading.faults, reading.faults
    assert parsed(json.loads(json.dumps(as_json(maps))))[0] == maps or any(
        step.expression for step in maps[0].steps
    )
    return maps[0]


def run(
    transform: Any, cells: list[str | None], target: str = "text", **others: list[str | None]
) -> tuple[list[str | None], list[str]]:
    m = one(transform, target)
    columns = {name: pa.array(given, pa.string()) for name, given in {"a": cells, **others}.items()}
    made = transformed(m, columns, len(cells), FieldKind(target))
    return made.cells.to_pylist(), [fault.code for fault in made.faults]


@pytest.mark.parametrize(
    ("transform", "cells", "expected"),
    [
        ("trim", [" x ", None, ""], ["x", None, ""]),
        (["trim", "upper"], [" straé "], ["STRAÉ"]),
        ({"trim": True, "lower": True}, [" ÄB "], ["äb"]),
        ("title", ["ann o'neil-smith", "it's"], ["Ann O'neil-Smith", "It's"]),
        ({"number": {"decimal": ",", "thousands": "."}}, ["1.234.567,50", "-3", ",5"],
         ["1234567.50", "-3", "0.5"]),
        ({"number": {"decimal": ",", "thousands": " "}}, ["1 234", "1\u00a0234,00"],
         ["1234", "1234.00"]),
        ({"boolean": {"true": ["Ja", "x"], "false": "nein"}}, ["JA", "x", "Nein", ""],
         ["true", "true", "false", None]),
        ({"split": {"separator": "-", "part": 2}}, ["a-b-c", "a"], ["b", None]),
        ({"split": {"separator": "-", "part": -1}}, ["a-b-c", "a"], ["c", "a"]),
        ([{"split": {"separator": ";"}}, {"join": {"separator": "+"}}], ["a;b", None], ["a+b", None]),
        ({"default": 5}, ["", None, "x"], ["5", "5", "x"]),
        ({"concat": ["<", {"value": True}, ">"]}, ["x", None], ["<x>", None]),
        ({"regexReplace": {"pattern": "([0-9]+)x", "with": "\\1*"}}, ["12x3x"], ["12*3*"]),
        ({"map": {"values": {"M": "male", "-": None}}}, ["M", "-", "?"], ["male", None, "?"]),
        ({"map": {"values": {"M": 1}, "otherwise": "null"}}, ["M", "?"], ["1", None]),
        ({"expression": "a & \"!\""}, ["x", None], ["x!", "!"]),
        ({"coalesce": ["b"]}, ["x", "", None], ["x", "B", "B"]),
        ({"join": {"separator": ", ", "columns": ["a", "b"]}}, ["x", "", None], ["x, B", "B", "B"]),
    ],
)  # fmt: skip
def test_each_transform_does_what_it_is_called(
    transform: Any, cells: list[str | None], expected: list[str | None]
) -> None:
    assert run(transform, cells, b=["B"] * len(cells)) == (expected, [])


@pytest.mark.parametrize(
    ("transform", "target", "cell", "code"),
    [
        ({"number": {"decimal": ",", "thousands": "."}}, "decimal", "12.34,5", "type"),
        ({"number": {"decimal": ","}}, "decimal", "1.5", "type"),
        ({"boolean": {"true": "ja", "false": "nein"}}, "boolean", "yes", "type"),
        ({"date": "%d/%m/%Y"}, "date", "31/02/2026", "format"),
        ({"map": {"values": {"M": "male"}, "otherwise": "reject"}}, "text", "F", "enum"),
        ({"expression": "number(a) / 0"}, "number", "1", "expression"),
        ({"expression": "a * 2"}, "number", "two", "expression"),
    ],
)
def test_a_cell_that_a_transform_cannot_take_is_refused(
    transform: Any, target: str, cell: str, code: str
) -> None:
    assert run(transform, [cell, None, cell], target) == ([None, None, None], [code, code])


@pytest.mark.parametrize(
    ("transform", "target", "code"),
    [
        ("shout", "text", "unknown"),
        (5, "text", "type"),
        ([{"trim": True, "upper": True}], "text", "length"),
        (["upper"] * 21, "text", "length"),
        ({"number": {"decimal": ",", "thousands": ","}}, "decimal", "enum"),
        ({"number": True}, "date", "type"),
        ({"date": "%d"}, "text", "type"),
        ({"split": {"separator": ","}}, "integer", "type"),
        ([{"split": {"separator": ","}}, "upper"], "text", "type"),
        ({"join": {"separator": ","}}, "text", "type"),
        ({"split": {"separator": "", "part": 0}}, "text", "type"),
        ({"regexReplace": {"pattern": "(?=x)"}}, "text", "format"),
        ({"coalesce": ["nope"]}, "text", "unknown"),
        ({"concat": [{"column": "nope"}]}, "text", "unknown"),
        ({"boolean": {"true": "x", "false": "X"}}, "boolean", "duplicate"),
        ({"expression": "a +"}, "number", "format"),
        ({"expression": "a = b"}, "date", "type"),
        ([{"lookup": {"by": "x"}}, "trim"], "text", "type"),
    ],
)
def test_a_wrong_transform_is_told_with_its_place(transform: Any, target: str, code: str) -> None:
    item = {"sourceField": "a", "targetField": target, "transform": transform}
    _, reading = parsed([item])
    assert code in {fault.code for fault in reading.faults}
    assert all(
        (fault.pointer or "").startswith("#/mapping/0/transform") for fault in reading.faults
    )


@pytest.mark.parametrize(
    ("text", "row", "expected"),
    [
        ("1 + 2 * 3 - 4 / 8", {}, Decimal("6.5")),
        ("0.1 + 0.2", {}, Decimal("0.3")),
        (
            "round([Unit price] * quantity, 2)",
            {"Unit price": "1.115", "quantity": "3"},
            Decimal("3.35"),
        ),
        ("-(2 - 5)", {}, Decimal(3)),
        ('upper(a) & " " & lower(b) & ""', {"a": "x", "b": None}, "X "),
        ('if(a > 5 and not b = "no", "big", "small")', {"a": "10", "b": "yes"}, "big"),
        ("if(a < b, 1, 2)", {"a": "10", "b": "9"}, Decimal(1)),
        ("if(number(a) < b, 1, 2)", {"a": "10", "b": "9"}, Decimal(2)),
        ('coalesce(a, b, "none")', {"a": None, "b": ""}, "none"),
        ("a + 1", {"a": None}, None),
        ("length(a) >= 2 or false", {"a": "äö"}, True),
        ('"say ""hi"""', {}, 'say "hi"'),
        ("12345678901234567890123 * 10", {}, Decimal("123456789012345678901230")),
        ('left("abc", 2) & right("abc", 1) & replace("aXa", "X", "-")', {}, "abca-a"),
        ("floor(-1.5) + ceil(1.2) + abs(-1) + min(1, 2) + max(1, 2)", {}, Decimal(4)),
    ],
)
def test_expressions_calculate_exactly(
    text: str, row: dict[str, str | None], expected: object
) -> None:
    found = parse_expression(text, HEADER)
    assert found.evaluate([row[name] for name in found.columns]) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "1 +", "(1", "nope", "nope()", "a.b", "__import__('os')", "a[0]", "1 if a else 2",
        "lambda: 1", "if(1, 2, 3)", "upper()", 'not "x"', "(" * 60 + "1" + ")" * 60, "x" * 3_000,
        "(a = b) + 1", '"open', "round(1, 2, 3)", "a; b", "a == b",
    ],
)  # fmt: skip
def test_what_is_no_expression_is_refused(text: str) -> None:
    with pytest.raises(Wrong):
        parse_expression(text, HEADER)


@given(
    st.text(alphabet='ab [Unitprice]()&+-*/=<>"1.,ifnotandor ', max_size=60), st.text(max_size=5)
)
def test_no_expression_does_anything_but_give_a_value_or_say_no(text: str, cell: str) -> None:
    try:
        found = parse_expression(text, HEADER)
        found.evaluate([cell] * len(found.columns))
    except (Wrong, Unusable):
        return


def test_an_expression_cannot_make_a_text_without_bounds() -> None:
    found = parse_expression('replace(a, "x", a)', HEADER)
    with pytest.raises(Unusable):
        found.evaluate(["x" * 100_000])


def test_the_schema_takes_every_example_and_what_the_reader_takes() -> None:
    schema = mapping_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    check = jsonschema.Draft202012Validator(schema)
    targets = {"number": "decimal", "boolean": "boolean", "date": "date", "expression": "number"}
    for name, (_, _, example) in TRANSFORMS.items():
        mapping = [
            {
                "sourceField": "a",
                "targetField": targets.get(name, "text"),
                "transform": [{name: example}],
            }
        ]
        assert check.is_valid(mapping), name
        if name not in ("lookup", "join"):
            maps, reading = parsed(mapping)
            assert not reading.faults, (name, reading.faults)
            assert check.is_valid(as_json(maps)), name
    for wrong in ({"number": {"decimal": ";"}}, {"split": {}}, {"concat": []}, {"shout": True}):
        mapping = [{"sourceField": "a", "targetField": "text", "transform": wrong}]
        assert not check.is_valid(mapping), wrong
        assert parsed(mapping)[1].faults, wrong


def test_the_functions_that_the_schema_names_exist() -> None:
    for name in FUNCTIONS:
        with pytest.raises(Wrong) as told:
            parse_expression(f"{name}(", HEADER)
        assert "there is no" not in str(told.value)

"""The JSON Schema of a mapping and its transforms, with an example of each."""

from collections.abc import Mapping
from typing import Any

from hubblewave_pipelines.core.expressions import FUNCTIONS, MAX_LENGTH
from hubblewave_pipelines.core.transforms import MAX_COLUMNS, MAX_STEPS, MAX_VALUES

_TRUE = {"const": True}
_TEXT = {"type": "string", "maxLength": 2000}
_COLUMNS = {
    "type": "array",
    "items": {"type": "string", "minLength": 1},
    "minItems": 1,
    "maxItems": MAX_COLUMNS,
}
_SCALAR = {"type": ["string", "number", "boolean"]}
_WORDS = {
    "anyOf": [
        {"type": "string", "minLength": 1},
        {"type": "array", "items": {"type": "string", "minLength": 1}},
    ]
}


def _object(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


# Name: (what it does, schema of its arguments, example of them). Those that take `true` may be
# written as their name alone.
TRANSFORMS: Mapping[str, tuple[str, dict[str, Any], Any]] = {
    "trim": ("without spaces around", _TRUE, True),
    "upper": ("in capitals", _TRUE, True),
    "lower": ("in small letters", _TRUE, True),
    "title": ("each word with a capital", _TRUE, True),
    "number": (
        "a number written with another decimal sign and signs between thousands",
        {
            "anyOf": [
                _TRUE,
                _object(
                    {
                        "decimal": {"enum": [".", ","]},
                        "thousands": {"enum": ["", ".", ",", " ", "'", "_"]},
                    }
                ),
            ]
        },
        {"decimal": ",", "thousands": "."},
    ),
    "boolean": (
        "true or false by words; case does not count",
        {"anyOf": [_TRUE, _object({"true": _WORDS, "false": _WORDS})]},
        {"true": ["ja", "x"], "false": "nein"},
    ),
    "date": (
        "a date or time written in a strptime form",
        {"type": "string", "pattern": "%", "maxLength": 100},
        "%d.%m.%Y",
    ),
    "split": (
        "one part (from 1, or from -1 from the end), or all of them as a list",
        _object(
            {
                "separator": {**_TEXT, "minLength": 1},
                "part": {"type": "integer", "not": {"const": 0}},
            },
            "separator",
        ),
        {"separator": "-", "part": 1},
    ),
    "join": (
        "a list, or the columns that are not empty, with a separator between",
        _object({"separator": _TEXT, "columns": _COLUMNS}),
        {"separator": ", ", "columns": ["Street", "City"]},
    ),
    "default": ("this where there is no value", _SCALAR, "unknown"),
    "concat": (
        "texts, columns and the value so far, one after another",
        {
            "type": "array",
            "minItems": 1,
            "maxItems": MAX_COLUMNS,
            "items": {
                "anyOf": [
                    {"type": "string"},
                    _object({"column": {"type": "string", "minLength": 1}}, "column"),
                    _object({"value": _TRUE}, "value"),
                ]
            },
        },
        [{"column": "First"}, " ", {"column": "Last"}],
    ),
    "coalesce": (
        "the value so far, else that of the first column that is not empty",
        _COLUMNS,
        ["Mobile", "Phone"],
    ),
    "regexReplace": (
        "what matches an RE2 pattern replaced; \\1 is its first group",
        _object({"pattern": {**_TEXT, "minLength": 1}, "with": _TEXT}, "pattern"),
        {"pattern": "[^0-9+]", "with": ""},
    ),
    "map": (
        "values for others; `otherwise` says what becomes of the rest",
        _object(
            {
                "values": {
                    "type": "object",
                    "minProperties": 1,
                    "maxProperties": MAX_VALUES,
                    "additionalProperties": {"type": ["string", "number", "boolean", "null"]},
                },
                "otherwise": {"enum": ["keep", "null", "reject"]},
            },
            "values",
        ),
        {"values": {"M": "male", "F": "female", "-": None}, "otherwise": "reject"},
    ),
    "expression": (
        f"the result of an expression; functions: {', '.join(FUNCTIONS)}",
        {"type": "string", "maxLength": MAX_LENGTH},
        "round(number([Unit price]) * quantity, 2)",
    ),
    "lookup": (
        "the record whose unique field has this value; always the last step",
        _object(
            {
                "entity": {"type": "string"},
                "by": {"type": "string"},
                "onMissing": {"enum": ["reject", "null"]},
            },
            "by",
        ),
        {"by": "code", "onMissing": "null"},
    ),
}
BARE = tuple(
    name
    for name, (_, schema, _) in TRANSFORMS.items()
    if _TRUE in (schema, *schema.get("anyOf", ()))
)


def mapping_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of `mapping`; whether fields and columns exist is checked with the file."""
    arguments: dict[str, Any] = {}
    for name, (does, schema, example) in TRANSFORMS.items():
        arguments[name] = {**schema, "description": does, "examples": [example]}
    arguments["trim"] = {
        **arguments["trim"],
        "description": "without spaces around; `false` keeps them where they would be cut off",
    }
    del arguments["trim"]["const"]
    arguments["trim"]["type"] = "boolean"
    one = {
        "type": "object",
        "minProperties": 1,
        "maxProperties": 1,
        "properties": {name: {"$ref": f"#/$defs/{name}"} for name in TRANSFORMS},
        "additionalProperties": False,
    }
    several = {**one, "maxProperties": MAX_STEPS, "description": "Applied in the order written."}
    step = {"anyOf": [{"enum": list(BARE)}, one]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Mapping of an import",
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "sourceField": {
                    "type": "string",
                    "minLength": 1,
                    "description": "A column of the file. Can be left out where the first "
                    "transform names its columns itself.",
                },
                "targetField": {"type": "string", "minLength": 1},
                "transform": {
                    "anyOf": [
                        {"enum": list(BARE)},
                        several,
                        {"type": "array", "items": step, "maxItems": MAX_STEPS},
                        {"type": "null"},
                    ]
                },
            },
            "required": ["targetField"],
            "additionalProperties": False,
        },
        "$defs": arguments,
    }

"""Law: the kernels and `core.values.from_text` agree on every cell, for every kind of field."""

import json
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubblewave_pipelines.core.entity import Field, FieldKind
from hubblewave_pipelines.core.values import Refused, from_text
from hubblewave_pipelines.transfer.coerce import coerce

RULES: dict[FieldKind, list[dict[str, object]]] = {
    FieldKind.TEXT: [{}, {"max_length": 3}, {"pattern": "a.*|b"}],
    FieldKind.INTEGER: [{}, {"min": -5, "max": 70}],
    FieldKind.NUMBER: [{}, {"min": -0.5, "max": 1e3}],
    FieldKind.DECIMAL: [{}, {"min": "0.10", "max": 99}],
    FieldKind.DATE: [{}, {"min": "2000-01-01"}],
    FieldKind.DATETIME: [{}, {"max": "2020-01-01T00:00:00Z"}],
    FieldKind.ENUM: [{"enum": ("a", "ab c", "é")}],
}
near = st.sampled_from(
    """true FALSE yes 0 1 -0 +7 007 1.5 .5 5. 1e3 1e999 -1.25 nan inf Infinity yesterday 2024-02-29
    2023-02-29 2024-2-9 0000-01-01 9999-12-31 24:00 2024-01-01T10:00:00Z 2024-01-01T10:00:00
    2024-01-01T24:00:00Z 2024-01-01T10:00:60Z 2024-01-01T10:00:00.5Z 2024-01-01T10:00:00.123456Z
    2024-01-01T10:00+02:00 9223372036854775807 9223372036854775808 999999999999999999
    -9223372036854775808 a ab é x@y.cz x@y a.b@c-d.org @x.cz http://x/ https://é.cz/a?b ftp://h
    mailto:x {"a":1} [1,NaN] {"a" 00000000-0000-7000-8000-00000000000A 0.100 99.0000001
    123456789012345.123456789012345 1234567890123456.5 0.1 99 70 71""".split()
)
digits = st.from_regex(r"[+-]?[0-9]{0,20}(\.[0-9]{0,18})?", fullmatch=True)
stamps = st.datetimes().map(lambda at: at.isoformat() + "Z")
cells = st.lists(st.one_of(near, digits, stamps, st.text(max_size=8)), max_size=12)


def carried(kind: FieldKind, value: object) -> object:
    if isinstance(value, Decimal):
        return value
    if isinstance(value, UUID) and kind is FieldKind.UUID:
        return value.bytes
    return value


def decided(field: Field, text: str) -> object:
    """The value of a cell as it travels, or why it is refused."""
    try:
        return carried(field.kind, from_text(field, text))
    except Refused as why:
        return why


def read(kind: FieldKind, value: object) -> object:
    if kind is FieldKind.DECIMAL and isinstance(value, str):
        return Decimal(value)
    if kind is FieldKind.JSON and isinstance(value, str):
        return json.loads(value)
    return value


@pytest.mark.parametrize("kind", list(FieldKind))
@given(texts=cells, data=st.data())
def test_kernels_agree_with_reading_one_cell(
    kind: FieldKind, texts: list[str], data: st.DataObject
) -> None:
    rules = data.draw(st.sampled_from(RULES.get(kind, [{}])))
    field = Field("aaaaaaaa", "f", kind, **rules)  # type: ignore[arg-type]
    texts = [t for t in texts if "\0" not in t and (t.strip() == t) and t]
    found = coerce(field, pa.array(texts, pa.string()))
    refused = {fault.index: fault.code for fault in found.faults}
    for index, (text, value) in enumerate(zip(texts, found.values.to_pylist(), strict=True)):
        expected = decided(field, text)
        if isinstance(expected, Refused):
            assert refused.get(index) == expected.code, text
            assert value is None
            continue
        assert index not in refused, text
        assert read(kind, value) == expected
        assert type(value) is not bool or kind is FieldKind.BOOLEAN
        assert isinstance(value, date | datetime) == (kind in (FieldKind.DATE, FieldKind.DATETIME))


def test_empty_cells_are_no_values_and_spaces_around_numbers_do_not_count() -> None:
    found = coerce(Field("a", "f", FieldKind.INTEGER), pa.array([None, "", " ", " 7 "]))
    assert found.values.to_pylist() == [None, None, None, 7]
    assert coerce(Field("a", "f", FieldKind.TEXT), pa.array(["", " a "])).values.to_pylist() == [
        "",
        " a ",
    ]

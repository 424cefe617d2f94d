"""Hypothesis strategies for the model: fields, and values that fit or just miss them."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal

from hypothesis import strategies as st

from hubblewave_pipelines.core.entity import Field, FieldKind

text = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=40
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
ENUM = ("new", "open", "won't fix", "closed")


def field(kind: FieldKind, **rules: object) -> Field:
    """A plain field of a kind; enum fields get `ENUM`."""
    enum = ENUM if kind is FieldKind.ENUM else ()
    return Field(id="aaaaaaaa", name="value", kind=kind, enum=enum, **rules)  # type: ignore[arg-type]


_VALUES: Mapping[FieldKind, st.SearchStrategy[object]] = {
    FieldKind.TEXT: text,
    FieldKind.LONGTEXT: text,
    FieldKind.INTEGER: st.integers(-(2**63), 2**63 - 1),
    FieldKind.NUMBER: st.floats(allow_nan=False, allow_infinity=False),
    FieldKind.DECIMAL: st.decimals(
        min_value=Decimal("-1e20"), max_value=Decimal("1e20"), places=6
    ).map(lambda d: format(d, "f")),
    FieldKind.BOOLEAN: st.booleans(),
    FieldKind.DATE: st.dates().map(lambda d: d.isoformat()),
    FieldKind.DATETIME: st.datetimes(
        min_value=datetime(1, 1, 2),  # noqa: DTZ001 - bounds of naive draws
        max_value=datetime(9999, 12, 30),  # noqa: DTZ001 - the same
    ).map(lambda at: at.replace(tzinfo=UTC).isoformat()),
    FieldKind.EMAIL: st.from_regex(r"\A[a-z0-9.]{1,10}@[a-z]{1,8}\.[a-z]{2,4}\Z"),
    FieldKind.URL: st.from_regex(r"\Ahttps://[a-z]{1,10}\.[a-z]{2,3}(/[a-z0-9]{0,8}){0,2}\Z"),
    FieldKind.UUID: st.uuids().map(str),
    FieldKind.JSON: json_values.filter(lambda v: v is not None),
    FieldKind.ENUM: st.sampled_from(ENUM),
}


def values(kind: FieldKind) -> st.SearchStrategy[object]:
    """JSON values (never null) that a field of `kind` accepts."""
    return _VALUES[kind]


def cell(kind: FieldKind, value: object) -> str:
    """A JSON value as the cell of a text file."""
    if kind is FieldKind.JSON:
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)

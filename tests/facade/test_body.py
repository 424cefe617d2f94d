"""JSON bodies are read strictly: what is accepted is exactly what json says, or a refusal."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.body import MAX_DEPTH, parse
from hubblewave_pipelines.core.errors import Invalid, MalformedRequest
from tests.strategies import json_values


@given(value=json_values)
def test_sound_json_is_read_as_it_is(value: Any) -> None:
    assert parse(json.dumps(value).encode()) == value
    assert parse(json.dumps(value, ensure_ascii=False).encode()) == value


@given(text=st.binary(max_size=40) | st.text('{}[]",:0\\ud8', max_size=30).map(str.encode))
def test_any_bytes_are_read_or_refused(text: bytes) -> None:
    with suppress(MalformedRequest, Invalid):
        json.dumps(parse(text)).encode()


@pytest.mark.parametrize("extra", [0, 1])
def test_depth_is_counted_to_the_level(extra: int) -> None:
    depth = MAX_DEPTH + extra
    text = b"[" * depth + b"]" * depth
    if extra:
        with pytest.raises(MalformedRequest):
            parse(text)
    else:
        parse(text)


def test_a_repeated_name_is_found_wherever_it_is() -> None:
    with pytest.raises(MalformedRequest) as refused:
        parse(b'[{"a":{"x/y":1,"x/y":2}}]')
    assert [fault.pointer for fault in refused.value.faults] == ["#/0/a/x~1y"]

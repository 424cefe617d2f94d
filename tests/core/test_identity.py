"""Identifiers: order, form and what a leaked look-alike is worth."""

import uuid

from hypothesis import given
from hypothesis import strategies as st

from hubblewave_pipelines.core.identity import (
    is_opaque_id,
    new_api_key,
    opaque_id,
    parse_api_key,
    uuid7s,
)


@given(st.integers(1, 3000), st.integers(0, 2**48 - 1))
def test_record_ids_of_one_call_ascend_and_never_repeat(count: int, unix_ms: int) -> None:
    ids = uuid7s(count, unix_ms=unix_ms)
    assert len(set(ids)) == count
    assert ids == sorted(ids)


def test_a_record_id_is_a_version_7_uuid_of_its_millisecond() -> None:
    made = uuid7s(1, unix_ms=1_700_000_000_123)[0]
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made.int >> 80 == 1_700_000_000_123


def test_a_later_call_sorts_after_an_earlier_one() -> None:
    assert uuid7s(1000, unix_ms=5)[-1] < uuid7s(1, unix_ms=6)[0]


def test_a_key_reads_back_and_a_changed_letter_is_no_key() -> None:
    key = new_api_key()
    assert parse_api_key(key.text) == key
    for index in range(len("hw_live_"), len(key.text)):
        other = "a" if key.text[index] != "a" else "b"
        assert parse_api_key(key.text[:index] + other + key.text[index + 1 :]) is None


@given(st.text(max_size=90))
def test_no_text_but_a_key_is_a_key(text: str) -> None:
    assert parse_api_key(text) is None


def test_physical_names_need_no_quoting() -> None:
    assert all(is_opaque_id(opaque_id()) for _ in range(100))
    assert not is_opaque_id('a"b')

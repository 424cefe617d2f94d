"""What is written is what is read, for every kind of field: parse(render(v)) == v."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hubblewave_pipelines.core.entity import FieldKind
from hubblewave_pipelines.core.values import from_json
from hubblewave_pipelines.storage.ddl import define
from tests.strategies import ENUM, field, values

PATH = "/api/v1/holders"


def _definition(kind: FieldKind) -> dict[str, Any]:
    rules = {"enum": list(ENUM)} if kind is FieldKind.ENUM else {}
    return {"name": kind.value, "type": kind.value, **rules}


HOLDER = {
    "name": "Holder",
    "pluralName": "Holders",
    "fields": [_definition(kind) for kind in FieldKind],
}
records = st.fixed_dictionaries(
    {}, optional={kind.value: st.none() | values(kind) for kind in FieldKind}
)


@pytest.fixture(scope="module")
def client(standing: Any) -> Iterator[httpx.Client]:
    define(standing.owner, standing.tenant, HOLDER)
    with standing.client() as client:
        yield client


def meant(kind: FieldKind, value: Any) -> object:
    return None if value is None else from_json(field(kind), value)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(record=records)
@example(record={"number": 5e-324, "integer": -(2**63), "decimal": "0.000000"})
@example(record={"number": 1.7976931348623157e308, "integer": 2**63 - 1, "text": '\u0001\\"\u2028'})
@example(record={"datetime": "0001-01-01T00:00:00Z", "date": "9999-12-31"})
@example(record={"datetime": "9999-12-31T23:59:59.999999Z", "json": {"a": [None, {"": 0.1}]}})
def test_a_record_reads_back_as_it_was_written(
    client: httpx.Client, record: dict[str, Any]
) -> None:
    answer = client.post(PATH, json=record)
    assert answer.status_code == 201, answer.text
    path = answer.headers["location"]
    found = client.get(path)
    assert found.json() == answer.json()
    for kind in FieldKind:
        shown, given = found.json()[kind.value], record.get(kind.value)
        assert meant(kind, shown) == meant(kind, given)
    again = {name: found.json()[name] for name in (kind.value for kind in FieldKind)}
    replaced = client.put(path, json=again).json()
    assert {name: replaced[name] for name in again} == again
    client.delete(path)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(record=records, data=st.data())
def test_a_record_is_found_by_each_of_its_values(
    client: httpx.Client, record: dict[str, Any], data: st.DataObject
) -> None:
    made = client.post(PATH, json=record).json()
    kinds = [kind for kind in FieldKind if kind is not FieldKind.JSON]
    kind = data.draw(st.sampled_from(kinds))
    shown = made[kind.value]
    if shown is None:
        where = {f"filter[{kind}][isNull]": "true"}
    else:
        text = {True: "true", False: "false"}[shown] if isinstance(shown, bool) else str(shown)
        where = {f"filter[{kind}]": text}
    answer = client.get(PATH, params={**where, "pageSize": 1000})
    client.delete(f"{PATH}/{made['id']}")
    assert answer.status_code == 200, answer.text
    assert made in answer.json()["items"]

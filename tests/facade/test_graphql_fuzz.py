"""Documents made from the schema with values of every kind: answered or refused, never a failure."""

from collections.abc import Iterator

import httpx
import pytest
from graphql import print_schema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis_graphql import from_schema, nodes

from api.graphql.schema import schema_for
from hubblewave_pipelines.storage.catalog import load_catalog
from tests.facade.conftest import Standing
from tests.facade.test_graphql import define

ANYTHING = st.text().map(nodes.String) | st.integers().map(nodes.Int)
SCALARS = {"Decimal": ANYTHING, "JSON": ANYTHING | st.booleans().map(nodes.Boolean)}


@pytest.fixture(scope="module")
def client(standing: Standing) -> Iterator[httpx.Client]:
    with standing.client() as made:
        define(made)
        for number in range(3):
            made.post("/api/v1/orders", json={"number": str(number)}).raise_for_status()
        yield made


@pytest.fixture(scope="module")
def documents(standing: Standing, client: httpx.Client) -> st.SearchStrategy[str]:
    with standing.owner.transaction(standing.tenant.id) as tx:
        schema = print_schema(schema_for(load_catalog(tx, standing.tenant.id)).graphql)
    without = schema.partition("type Subscription")[0]  # the last type but those of the library
    rest = schema[len(without) :].partition("}\n")[2]
    return from_schema(without + rest, custom_scalars=SCALARS)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_document_of_the_schema_makes_the_server_fail(
    client: httpx.Client, documents: st.SearchStrategy[str], data: st.DataObject
) -> None:
    document = data.draw(documents)
    answer = client.post("/graphql", json={"query": document})
    assert answer.status_code == 200, (document, answer.text)
    for error in answer.json().get("errors", ()):
        assert error["extensions"]["code"] != "internal", (document, error)

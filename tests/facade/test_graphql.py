"""GraphQL over a real socket: reads, pages, writes and what is refused, against REST's answers."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

CUSTOMER = {
    "name": "Customer",
    "pluralName": "Customers",
    "fields": [
        {"name": "name", "type": "text", "required": True},
        {"name": "email", "type": "email", "unique": True},
        {"name": "tier", "type": "enum", "enum": ["pro", "free"]},
    ],
}
TAG = {
    "name": "Tag",
    "pluralName": "Tags",
    "fields": [{"name": "label", "type": "text", "unique": True}],
}
ORDER = {
    "name": "Order",
    "pluralName": "Orders",
    "fields": [
        {"name": "number", "type": "text", "required": True},
        {"name": "total", "type": "decimal"},
        {"name": "placedOn", "type": "date"},
        {"name": "points", "type": "integer"},
        {"name": "extra", "type": "json"},
    ],
    "relationships": [
        {"name": "customer", "type": "manyToOne", "targetEntity": "Customer"},
        {"name": "tags", "type": "manyToMany", "targetEntity": "Tag"},
    ],
}
CUSTOMER_WITH_ORDERS = {
    **CUSTOMER,
    "relationships": [
        {"name": "orders", "type": "oneToMany", "targetEntity": "Order", "field": "customerId"}
    ],
}
Ask = Callable[..., dict[str, Any]]


def define(client: httpx.Client) -> None:
    for body in (CUSTOMER, TAG, ORDER):
        client.post("/api/v1/entities", json=body).raise_for_status()
    client.put("/api/v1/entities/Customer", json=CUSTOMER_WITH_ORDERS).raise_for_status()


@pytest.fixture
def shop(admin: httpx.Client) -> httpx.Client:
    """Two customers, three orders of the first, one without a customer."""
    define(admin)
    ada, bob = (
        admin.post("/api/v1/customers", json=body).json()["id"]
        for body in (
            {"name": "Ada", "email": "ada@x.org", "tier": "pro"},
            {"name": "Bob", "email": "bob@x.org"},
        )
    )
    assert bob
    for number, total in (("A1", "10.50"), ("A2", "20.00"), ("A3", None)):
        body = {"number": number, "total": total, "customerId": ada, "placedOn": "2026-01-31"}
        admin.post("/api/v1/orders", json=body).raise_for_status()
    admin.post("/api/v1/orders", json={"number": "Z", "points": 2**60}).raise_for_status()
    return admin


@pytest.fixture
def ask(shop: httpx.Client) -> Ask:
    """Sends a document and returns the whole result."""

    def asking(query: str, variables: object = None, **more: object) -> dict[str, Any]:
        answer = shop.post("/graphql", json={"query": query, "variables": variables, **more})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    return asking


def test_a_document_is_answered_in_its_own_order_and_names(ask: Ask) -> None:
    found = ask(
        """
        query ($min: Decimal) {
          who: customers(sort: {field: "name"}) {
            pageInfo { totalItems hasNextPage totalPages }
            items { __typename tier label: name orders(sort: {field: "number", order: DESC},
                filter: {total_gte: $min}) { number customer { name } total } }
          }
          __typename
        }
        """,
        {"min": "10.5"},
    )
    assert found == {
        "data": {
            "who": {
                "pageInfo": {"totalItems": 2, "hasNextPage": False, "totalPages": 1},
                "items": [
                    {
                        "__typename": "Customer",
                        "tier": "pro",
                        "label": "Ada",
                        "orders": [
                            {"number": "A2", "customer": {"name": "Ada"}, "total": "20.00"},
                            {"number": "A1", "customer": {"name": "Ada"}, "total": "10.50"},
                        ],
                    },
                    {"__typename": "Customer", "tier": None, "label": "Bob", "orders": []},
                ],
            },
            "__typename": "Query",
        }
    }
    assert list(found["data"]["who"]) == ["pageInfo", "items"]
    assert list(found["data"]["who"]["items"][0]) == ["__typename", "tier", "label", "orders"]

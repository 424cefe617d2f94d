"""A tenant with one of everything that a definition can say, for what is generated from it."""

from typing import Any

import httpx

from hubblewave_pipelines.core.entity import FieldKind

_RULES: dict[FieldKind, dict[str, Any]] = {
    FieldKind.ENUM: {"enum": ["new", "won't do"], "default": "new"},
    FieldKind.TEXT: {"maxLength": 50, "description": "What it is called.", "pattern": "[a-zA-Z ]*"},
    FieldKind.INTEGER: {"min": 0, "max": 1000, "example": 7},
    FieldKind.DECIMAL: {"min": 0},
    FieldKind.DATE: {"min": "2000-01-01"},
}
CUSTOMER = {
    "name": "Customer",
    "pluralName": "Customers",
    "description": "Who buys.\n\nOne row per *legal* person: `A & B` <c>.",
    "fields": [
        {"name": "code", "type": "text", "required": True, "unique": True, "example": "C-1"},
        {"name": "name", "type": "text", "required": True},
        *({"name": f"a{kind.title()}", "type": kind, **_RULES.get(kind, {})} for kind in FieldKind),
        {"name": "tier", "type": "enum", "enum": ["free", "pro"], "required": True},
        {"name": "rank", "type": "integer", "computed": True},
    ],
    "relationships": [
        {"name": "parent", "type": "manyToOne", "targetEntity": "Customer"},
        {"name": "peers", "type": "manyToMany", "targetEntity": "Customer"},
    ],
}
TAG = {
    "name": "Tag",
    "pluralName": "tags",
    "requireIfMatch": True,
    "fields": [{"name": "word", "type": "text", "required": True}],
}
ORDER = {
    "name": "Order",
    "pluralName": "Orders",
    "fields": [
        {"name": "number", "type": "text", "required": True, "unique": True},
        {"name": "total", "type": "decimal", "required": True, "min": 0},
        {"name": "status", "type": "enum", "enum": ["open", "paid"], "default": "open"},
    ],
    "relationships": [
        {
            "name": "customer",
            "type": "manyToOne",
            "targetEntity": "Customer",
            "required": True,
            "onDelete": "restrict",
        },
        {"name": "tags", "type": "manyToMany", "targetEntity": "Tag"},
    ],
}
CHILDREN = {
    "name": "children",
    "type": "oneToMany",
    "targetEntity": "Customer",
    "field": "parentId",
}
ORDERS = {"name": "orders", "type": "oneToMany", "targetEntity": "Order", "field": "customerId"}
TAGGED = {"name": "orders", "type": "manyToMany", "targetEntity": "Order", "field": "tags"}


def define(client: httpx.Client) -> None:
    """Make the entities in the client's tenant."""
    for body in (CUSTOMER, TAG, ORDER):
        made = client.post("/api/v1/entities", json=body)
        assert made.status_code == 201, made.text
    for body, more in ((CUSTOMER, [CHILDREN, ORDERS]), (TAG, [TAGGED])):
        known: list[Any] = list(body.get("relationships", []))  # type: ignore[call-overload]
        changed = {**body, "relationships": [*known, *more]}
        made = client.put(f"/api/v1/entities/{body['name']}", json=changed)
        assert made.status_code == 200, made.text

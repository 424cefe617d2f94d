"""What a connector to Salesforce is configured with: its JSON Schema, and the same as a typed value."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from hubblewave_pipelines.core.entity import Json

BULK_ABOVE = 10_000
CONFIG: Mapping[str, Json] = MappingProxyType(
    {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "required": ["baseUrl"],
        "additionalProperties": False,
        "properties": {
            "baseUrl": {
                "type": "string",
                "format": "uri",
                "description": "My Domain URL of the org: https://NAME.my.salesforce.com.",
            },
            "apiVersion": {
                "type": "string",
                "pattern": r"^\d{2,3}\.0$",
                "default": "60.0",
                "description": "Version of the REST API, 58.0 or later.",
            },
            "bulkAbove": {
                "type": "integer",
                "minimum": 0,
                "default": BULK_ABOVE,
                "description": (
                    "Windows with more records than this are read by Bulk API 2.0 after their first"
                    " page; smaller ones by REST, 2,000 records a request."
                ),
            },
        },
    }
)


@dataclass(frozen=True, slots=True)
class Config:
    api_version: str = "60.0"
    bulk_above: int = BULK_ABOVE

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> "Config":
        """`given` fits the schema already."""
        return cls(
            api_version=str(given.get("apiVersion", "60.0")),
            bulk_above=int(given.get("bulkAbove", BULK_ABOVE)),
        )

    @property
    def data(self) -> str:
        """The path that everything but signing in lies under."""
        return f"/services/data/v{self.api_version}"

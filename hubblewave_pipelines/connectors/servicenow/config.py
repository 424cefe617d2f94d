"""What a connector to ServiceNow is configured with: its JSON Schema, and the same as a typed value."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from hubblewave_pipelines.core.entity import Json

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
                "description": "Of the instance: https://NAME.service-now.com.",
            },
            "pageSize": {
                "type": "integer",
                "minimum": 1,
                "maximum": 10_000,
                "default": 5_000,
                "description": "Rows asked for at once; halved by itself where a transaction takes too long.",
            },
            "commitLag": {
                "type": "number",
                "minimum": 0,
                "maximum": 3_600,
                "default": 60,
                "description": "Seconds that the mark stays behind the instance's clock.",
            },
            "overlap": {
                "type": "number",
                "minimum": 0,
                "maximum": 86_400,
                "default": 300,
                "description": (
                    "Seconds that are read again: as long as a transaction may take before it commits."
                ),
            },
        },
    }
)


@dataclass(frozen=True, slots=True)
class Config:
    page_size: int = 5_000
    commit_lag: timedelta = timedelta(seconds=60)
    overlap: timedelta = timedelta(seconds=300)

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> "Config":
        """`given` fits the schema already."""
        return cls(
            page_size=int(given.get("pageSize", 5_000)),
            commit_lag=timedelta(seconds=float(given.get("commitLag", 60))),
            overlap=timedelta(seconds=float(given.get("overlap", 300))),
        )

"""What a connector to Jira is configured with: its JSON Schema, and the same as a typed value."""

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
                "description": (
                    "Cloud: https://NAME.atlassian.net with an e-mail address and an API token, or"
                    " https://api.atlassian.com/ex/jira/CLOUD-ID with OAuth. Data Center: the base URL"
                    " with its context path."
                ),
            },
            "deployment": {"enum": ["cloud", "dataCenter"], "default": "cloud"},
            "richText": {
                "enum": ["text", "adf"],
                "default": "text",
                "description": (
                    "Descriptions and the like as wiki text, or as Atlassian documents (JSON; Cloud"
                    " only), which lose nothing."
                ),
            },
            "pageSize": {
                "type": "integer",
                "minimum": 2,
                "maximum": 1_000,
                "description": "Issues on a page; Cloud gives at most 100 with fields, Data Center 1,000.",
            },
            "window": {
                "type": "integer",
                "minimum": 2,
                "default": 10_000,
                "description": "Data Center: how far startAt reaches into a result.",
            },
            "commitLag": {
                "type": "number",
                "minimum": 60,
                "maximum": 86_400,
                "default": 60,
                "description": "Seconds that the mark stays behind Jira's clock.",
            },
            "overlap": {
                "type": "number",
                "minimum": 60,
                "maximum": 86_400,
                "default": 600,
                "description": "Seconds that are read again: as long as Jira's index may lag.",
            },
        },
    }
)


@dataclass(frozen=True, slots=True)
class Config:
    cloud: bool = True
    adf: bool = False
    page_size: int = 100
    window: int = 10_000
    commit_lag: timedelta = timedelta(seconds=60)
    overlap: timedelta = timedelta(seconds=600)

    @property
    def api(self) -> str:
        """Version 3 differs from version 2 by its documents only."""
        return "/rest/api/3" if self.cloud and self.adf else "/rest/api/2"

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> "Config":
        """`given` fits the schema already."""
        cloud = given.get("deployment", "cloud") == "cloud"
        return cls(
            cloud=cloud,
            adf=given.get("richText", "text") == "adf",
            page_size=int(given.get("pageSize") or (100 if cloud else 1_000)),
            window=int(given.get("window", 10_000)),
            commit_lag=timedelta(seconds=float(given.get("commitLag", 60))),
            overlap=timedelta(seconds=float(given.get("overlap", 600))),
        )

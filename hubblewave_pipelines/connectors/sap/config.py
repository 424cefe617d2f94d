"""What a connector to SAP is configured with: its JSON Schemas, and the same as a typed value."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from hubblewave_pipelines.core.entity import Json
from hubblewave_pipelines.core.errors import Fault, Invalid

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
                "description": "Scheme, host and port of the system or of the proxy before it.",
            },
            "client": {
                "type": "string",
                "pattern": "^[0-9]{3}$",
                "description": "The client (Mandant) to log on to; without, the system's default.",
            },
            "language": {
                "type": "string",
                "pattern": "^[A-Za-z]{2}$",
                "default": "EN",
                "description": "Labels and messages come in it.",
            },
            "services": {
                "type": "array",
                "items": {"type": "string", "minLength": 1},
                "default": ["API_*"],
                "description": (
                    "Which OData services are looked at: names or patterns of the catalog"
                    " (API_*), or NAME=/sap/opu/odata4/..., which costs no catalog request."
                ),
            },
            "pageSize": {"type": "integer", "minimum": 1, "maximum": 50_000, "default": 5_000},
            "cursors": {
                "type": "object",
                "additionalProperties": {"type": "string"},
                "description": "The change field of a stream where its name does not tell it.",
            },
            "timeZone": {
                "type": "string",
                "default": "UTC",
                "description": "The system's own zone (STZAC), in which change dates are kept.",
            },
            "commitLag": {
                "type": "number",
                "minimum": 0,
                "maximum": 86_400,
                "default": 120,
                "description": (
                    "Seconds: how long a change can take from its time stamp to its commit."
                ),
            },
            "delta": {
                "enum": ["auto", "never"],
                "default": "auto",
                "description": "Whether delta links are used where a service offers them.",
            },
            "rfc": {
                "type": "object",
                "description": (
                    "Connection parameters of SAP NW RFC (ashost or mshost, sysnr, ...). Needs a"
                    " `pyrfc` module on the machine. User and password are the credentials'."
                ),
                "additionalProperties": {"type": "string"},
            },
            "tables": {
                "type": "array",
                "description": "Tables that are read by RFC, each a stream `rfc.NAME`.",
                "items": {
                    "type": "object",
                    "required": ["name"],
                    "additionalProperties": False,
                    "properties": {
                        "name": {"type": "string", "pattern": "^[A-Z0-9_/]{1,30}$"},
                        "cursor": {"type": "string"},
                        "fields": {"type": "array", "items": {"type": "string"}},
                    },
                },
            },
            "readTable": {
                "type": "string",
                "default": "RFC_READ_TABLE",
                "description": "The function module that reads tables (/BODS/RFC_READ_TABLE, ...).",
            },
        },
    }
)


@dataclass(frozen=True, slots=True)
class Table:
    name: str
    cursor: str | None = None
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Config:
    client: str | None = None
    language: str = "EN"
    services: tuple[str, ...] = ("API_*",)
    page_size: int = 5_000
    cursors: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    commit_lag: timedelta = timedelta(seconds=120)
    delta: bool = True
    rfc: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    tables: tuple[Table, ...] = ()
    read_table: str = "RFC_READ_TABLE"

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> "Config":
        """`given` fits the schema already. Raises Invalid for what the schema cannot know."""
        usual = cls()
        zone = str(given.get("timeZone", "UTC"))
        try:
            found = ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            fault = Fault("connector.time_zone", f"{zone!r} is no time zone.", "#/timeZone")
            raise Invalid("The configuration is not valid.", faults=[fault]) from error
        return cls(
            client=given.get("client"),
            language=str(given.get("language", usual.language)).upper(),
            services=tuple(given.get("services", usual.services)),
            page_size=int(given.get("pageSize", usual.page_size)),
            cursors=dict(given.get("cursors", {})),
            zone=found,
            commit_lag=timedelta(seconds=float(given.get("commitLag", 120))),
            delta=given.get("delta", "auto") == "auto",
            rfc=dict(given.get("rfc", {})),
            tables=tuple(
                Table(one["name"], one.get("cursor"), tuple(one.get("fields", ())))
                for one in given.get("tables", ())
            ),
            read_table=str(given.get("readTable", usual.read_table)),
        )

"""Answer bodies of the SAP sandbox: entries, feeds, deltas and errors, as V2 and V4 write them."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from hubblewave_pipelines.sandboxes.sap.keys import parenthesis
from hubblewave_pipelines.sandboxes.sap.literals import instant, json_v2, json_v4
from hubblewave_pipelines.sandboxes.sap.model import EntitySet, EntityType, Service

Row = Mapping[str, Any]


def number(text: str) -> Any:
    """A decimal as a JSON number, digit by digit."""
    return msgspec.Raw(text.encode())


def encode(body: Any) -> bytes:
    return msgspec.json.encode(body)


class Rendering:
    """How one request wants its rows. `root` is the absolute URL of the service."""

    def __init__(
        self, service: Service, root: str, *, as_numbers: bool, select: tuple[str, ...] = ()
    ) -> None:
        self.service = service
        self.root = root
        self.as_numbers = as_numbers
        self.decimals: Callable[[str], Any] = number if as_numbers else str
        self.select = select

    def _properties(self, shape: EntityType) -> list[Any]:
        if not self.select:
            return list(shape.properties)
        return [prop for prop in shape.properties if prop.name in self.select]

    def entry(self, part: EntitySet, row: Row) -> dict[str, Any]:
        shape, version = part.type, self.service.version
        if version == 2:
            uri = f"{self.root}/{part.name}{parenthesis(row, shape, 2)}"
            metadata = {"id": uri, "uri": uri, "type": f"{self.service.namespace}.{shape.name}"}
            if shape.changed:
                metadata["etag"] = etag(row, shape)
            shown: dict[str, Any] = {"__metadata": metadata}
            for prop in self._properties(shape):
                shown[prop.name] = json_v2(prop, row[prop.name])
            if part.items is not None and not self.select:
                shown[part.items[0]] = {"__deferred": {"uri": f"{uri}/{part.items[0]}"}}
            return shown
        shown = {"@odata.etag": etag(row, shape)} if shape.changed else {}
        for prop in self._properties(shape):
            shown[prop.name] = json_v4(prop, row[prop.name], decimals=self.decimals)
        return shown

    def gone(self, part: EntitySet, row: Row) -> dict[str, Any]:
        """A tombstone in a delta: the form of OData 4.0, which Gateway's V2 uses in JSON as well."""
        key = f"{part.name}{parenthesis(row, part.type, self.service.version)}"
        if self.service.version == 2:
            return {
                "@odata.context": f"$metadata#{part.name}/$deletedEntity",
                "id": f"{self.root}/{key}",
            }
        return {"@odata.context": f"#{part.name}/$deletedEntity", "id": key, "reason": "deleted"}


def etag(row: Row, shape: EntityType) -> str:
    """A weak tag from what an edit moves; sets without a change field carry none."""
    moved = row[shape.changed] if shape.changed else None
    if isinstance(moved, datetime):
        return f"W/\"datetimeoffset'{instant(moved)}'\""
    return f"W/\"'{moved}{row.get('LastChangeTime', '')}-{row.get('_edits', 0)}'\""


def error(version: int, code: str, message: str, language: str = "en") -> bytes:
    """An OData error body; a Gateway's V2 message is an object with its language."""
    if version == 4:
        return encode({"error": {"code": code, "message": message, "@SAP__common.Severity": 4}})
    inner = {
        "application": {
            "component_id": "",
            "service_namespace": "/SAP/",
            "service_version": "0001",
        },
        "transactionid": "6E7D3F8E4D5B0050E0065F3A5B1C2D3E",
        "errordetails": [{"code": code, "message": message, "severity": "error", "target": ""}],
    }
    return encode(
        {
            "error": {
                "code": code,
                "message": {"lang": language, "value": message},
                "innererror": inner,
            }
        }
    )

"""Changing the SAP sandbox's data: creates, edits and deletes, by clients under ETags and by the control desk."""

import json
import random
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import unquote
from uuid import UUID
from zoneinfo import ZoneInfo

from hubblewave_pipelines.sandboxes.sap.bodies import etag
from hubblewave_pipelines.sandboxes.sap.exchange import Ask, Refused
from hubblewave_pipelines.sandboxes.sap.keys import KEY, key_text, order_of
from hubblewave_pipelines.sandboxes.sap.literals import BadLiteral, read_json
from hubblewave_pipelines.sandboxes.sap.model import PARTNER, EntitySet, EntityType
from hubblewave_pipelines.sandboxes.stage import Stage, Table

Row = dict[str, Any]
_EMPTY: dict[str, Any] = {"String": "", "Boolean": False}


class Writer:
    """`tables` by the name of their entity type. `zone` is the system's own, in which dates are kept."""

    def __init__(self, stage: Stage, zone: ZoneInfo, *, gateway: bool) -> None:
        self.stage = stage
        self.zone = zone
        self.gateway = gateway
        self.tables: dict[str, Table] = {}
        self.shapes: dict[str, EntityType] = {}
        self.zone_shift = timedelta(0)

    def add(self, name: str, shape: EntityType, rows: list[Row]) -> None:
        table = self.stage.add(Table(name, KEY, order_of(shape)))
        table.load({row[KEY]: row for row in rows})
        self.tables[shape.name] = table
        self.shapes[name] = shape

    def find(self, shape: EntityType, key: str) -> str | None:
        """The key text of the row that this key names, however its ALPHA numbers are written."""
        table = self.tables[shape.name]
        if key in table.rows:
            return key
        order = order_of(shape)
        wanted = order(key)
        before = table.keys(before=key)
        rest = table.keys(after=before[-1] if before else None)
        return rest[0] if rest and order(rest[0]) == wanted else None

    def keyed(self, shape: EntityType, key: str) -> Row:
        """What is left of a deleted row: its key properties."""
        return dict(zip(shape.keys, (unquote(part) for part in key.split("/")), strict=True))

    def create(self, part: EntitySet, body: bytes, version: int) -> Row:
        """Raises Refused."""
        if not part.writable:
            raise Refused(405, "/IWFND/CM_MGW/405", f"{part.name} cannot be created")
        shape = part.type
        values = self._read(shape, body, version, lambda prop: prop.creatable)
        if len(shape.keys) == 1 and not values.get(shape.keys[0]):
            values[shape.keys[0]] = self._next_number(shape)
        missing = [name for name in shape.keys if not values.get(name)]
        if missing:
            raise Refused(400, "CX_SADL_ENTITY/001", f"Property '{missing[0]}' must have a value")
        return self.put(shape, values, self.stage.clock.now(), fresh=True)

    def put(
        self, shape: EntityType, values: Mapping[str, Any], at: datetime, *, fresh: bool
    ) -> Row:
        """Raises Refused when a fresh row's key is taken."""
        table = self.tables[shape.name]
        key = key_text(values, shape)
        known = self.find(shape, key)
        if fresh and known is not None:
            raise Refused(
                400, "CX_SADL_ENTITY_DUPLICATE/002", f"Instance of {shape.name} already exists"
            )
        base = {prop.name: _EMPTY.get(prop.edm) for prop in shape.properties}
        row = self._stamped(shape, {**base, **values, KEY: key}, at, fresh=fresh)
        if shape is PARTNER and row.get("BusinessPartnerUUID") is None:
            row["BusinessPartnerUUID"] = UUID(int=random.getrandbits(128), version=4)
        if fresh and "CreationDate" in shape.by_name:
            row["CreationDate"] = at.astimezone(self.zone).date()
        self.stage.put(table.name, row, at=at)
        return row

    def update(self, part: EntitySet, row: Row, ask: Ask, version: int) -> None:
        """Raises Refused: 428 (or 412 of a Gateway) without If-Match, 412 when it is stale."""
        self._guard(part, row, ask)
        values = self._read(part.type, ask.body, version, lambda prop: prop.updatable)
        self.edit(part.type, row[KEY], values, self.stage.clock.now())

    def edit(self, shape: EntityType, key: str, values: Mapping[str, Any], at: datetime) -> None:
        """Raises KeyError. An edit that changes nothing leaves the stamp where it is."""
        table = self.tables[shape.name]
        row = table.rows[key]
        if all(row.get(name) == value for name, value in values.items()):
            return
        self.stage.put(table.name, self._stamped(shape, {**row, **values}, at), at=at)

    def remove(self, part: EntitySet, row: Row, ask: Ask) -> None:
        if not part.writable:
            raise Refused(405, "/IWFND/CM_MGW/405", f"{part.name} cannot be deleted")
        self._guard(part, row, ask)
        self.delete(part.type, row[KEY], self.stage.clock.now())

    def delete(self, shape: EntityType, key: str, at: datetime) -> None:
        """Raises KeyError. What hangs on the row goes with it."""
        table = self.tables[shape.name]
        if key not in table.rows:
            raise KeyError(key)
        self.stage.drop(table.name, key, at=at)
        for name, other in self.shapes.items():
            if other is not shape and other.keys[0] == shape.keys[0] and len(other.keys) > 1:
                hanging = self.stage.tables[name]
                for child in list(hanging.keys(key)):
                    if not child.startswith(f"{key}/"):
                        break
                    self.stage.drop(name, child, at=at)

    def _stamped(self, shape: EntityType, row: Row, at: datetime, *, fresh: bool = False) -> Row:
        row["_edits"] = row.get("_edits", 0) + 1
        if "LastChangeDateTime" in shape.by_name:
            row["LastChangeDateTime"] = at
        if "LastChangeDate" in shape.by_name and row["_edits"] > (1 if fresh else 0):
            local = at.astimezone(self.zone)
            row["LastChangeDate"] = local.date()
            row["LastChangeTime"] = local.time().replace(microsecond=0, tzinfo=None)
        return row

    def _guard(self, part: EntitySet, row: Row, ask: Ask) -> None:
        if part.type.changed is None:
            return
        given = ask.headers.get("if-match")
        if given is None:
            status = 412 if self.gateway else 428
            raise Refused(
                status, "/IWFND/CM_MGW/428", "Precondition required: send the If-Match header"
            )
        if given != "*" and given != etag(row, part.type):
            raise Refused(412, "/IWFND/CM_MGW/412", "Precondition failed: the record was changed")

    def _read(
        self, shape: EntityType, body: bytes, version: int, allowed: Callable[[Any], bool]
    ) -> Row:
        try:
            given = json.loads(body)
            if not isinstance(given, dict):
                raise ValueError("an object is expected")
            given = given.get("d", given)
            values = {}
            for name, value in given.items():
                if name == "__metadata" or name.startswith("@"):
                    continue
                prop = shape.by_name.get(name)
                if prop is None:
                    raise BadLiteral(f"Property '{name}' is invalid")
                if allowed(prop) or prop.name in shape.keys:
                    values[name] = read_json(prop, value, version)
        except ValueError as error:
            raise Refused(400, "/IWBEP/CM_MGW_RT/021", str(error)) from error
        return values

    def _next_number(self, shape: EntityType) -> str:
        """The next of the internal number range."""
        numbers = [int(key) for key in self.tables[shape.name].keys() if key.isdigit()]
        return str(max(numbers, default=0) + 1)

"""A connector as clients write it: held to the schemas of its type, with every fault at once."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hubblewave_pipelines.core.credentials import Credentials
from hubblewave_pipelines.core.egress import Allow, check_url
from hubblewave_pipelines.core.entity import Json
from hubblewave_pipelines.core.errors import BlockedTarget, Fault, Invalid
from hubblewave_pipelines.core.json_schema import check_schema
from hubblewave_pipelines.core.reading import Reading, suggestion
from hubblewave_pipelines.core.signature import secret_fault
from hubblewave_pipelines.core.stream import ConnectorType

KNOWN = ("name", "type", "config", "credentials", "status", "limits", "inboundSecret")
_LIMITS: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "requestsPerSecond": {"type": "number", "exclusiveMinimum": 0, "maximum": 1000},
        "burst": {"type": "integer", "minimum": 1, "maximum": 1000},
        "reservePercent": {"type": "number", "minimum": 0, "maximum": 90},
    },
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class ConnectorWish:
    """A connector that somebody asks for. `credentials` and `inbound_secret` None: as they were."""

    name: str
    type: str
    config: dict[str, Json]
    credentials: Credentials | None
    status: str
    pace: dict[str, float]
    inbound_secret: str | None


def parse_connector(
    body: Json,
    types: Mapping[str, ConnectorType],
    allow: Allow,
    *,
    credentials_needed: bool = True,
    type_kept: str | None = None,
) -> ConnectorWish:
    """Raises Invalid with every fault, BlockedTarget when only addresses are out of bounds.

    `type_kept` is the type of a connector that is changed, which it keeps for ever.
    """
    if not isinstance(body, dict):
        detail = "The body must be a JSON object."
        raise Invalid(detail, faults=[Fault("type", "expected an object", "#")])
    reading, blocked = Reading(), Reading()
    reading.keys(body, KNOWN, "#")
    name = (reading.text(body, "name", "#", longest=200) or "").strip()
    if not name and isinstance(body.get("name"), str | None):
        reading.fault("#/name", "required", "name is required")
    known = _type(reading, body, types, type_kept)
    config = body.get("config")
    given = body.get("credentials")
    if known is not None:
        if config is None:
            reading.fault("#/config", "required", "config is required")
        else:
            check_schema(reading, config, known.config, "#/config")
        if given is not None:
            check_schema(reading, given, known.credentials, "#/credentials")
        elif credentials_needed and not _can_do_without(known):
            reading.fault("#/credentials", "required", "credentials are required")
    config = config if isinstance(config, dict) else {}
    given = given if isinstance(given, dict) else None
    _url(blocked, config, "baseUrl", "#/config/baseUrl", allow)
    _url(blocked, given or {}, "tokenUrl", "#/credentials/tokenUrl", allow)
    status = "active"
    if body.get("status") is not None:
        status = reading.choice(body, "status", "#", ("active", "inactive")) or status
    pace = _pace(reading, body)
    secret = reading.text(body, "inboundSecret", "#", longest=1000)
    if secret is not None and (fault := secret_fault(secret)):
        reading.fault("#/inboundSecret", "format", f"inboundSecret {fault}")
    faults = [*reading.faults, *blocked.faults]
    if reading.faults:
        raise Invalid("The connector cannot be stored.", faults=faults)
    if blocked.faults:
        raise BlockedTarget(blocked.faults[0].detail, faults=faults)
    credentials = _credentials(given)
    if credentials is None and credentials_needed:
        credentials = Credentials({"kind": "none"})
    return ConnectorWish(
        name, known.name if known else "", config, credentials, status, pace, secret
    )


def _type(
    reading: Reading, body: dict[str, Json], types: Mapping[str, ConnectorType], kept: str | None
) -> ConnectorType | None:
    given = body.get("type")
    if kept is not None:
        if given is not None and given != kept:
            reading.fault("#/type", "read_only", f"the type stays {kept}: make another connector")
        return types.get(kept)
    if isinstance(given, str) and given in types:
        return types[given]
    if given is None:
        reading.fault("#/type", "required", f"type is required: one of {', '.join(types)}")
    else:
        near = suggestion(given, types) if isinstance(given, str) else ""
        reading.fault("#/type", "enum", f"type is not one of {', '.join(types)}{near}")
    return None


def _can_do_without(known: ConnectorType) -> bool:
    branches = known.credentials.get("oneOf", [])
    return isinstance(branches, list) and any(
        isinstance(branch, dict) and branch.get("title") == "none" for branch in branches
    )


def _url(
    reading: Reading, given: Mapping[str, Json], name: str, pointer: str, allow: Allow
) -> None:
    url = given.get(name)
    if isinstance(url, str):
        try:
            check_url(url, allow)
        except BlockedTarget as error:
            reading.fault(pointer, "blocked", error.detail)


def _pace(reading: Reading, body: dict[str, Json]) -> dict[str, float]:
    limits = body.get("limits")
    before = len(reading.faults)
    if limits is not None:
        check_schema(reading, limits, _LIMITS, "#/limits")
    if not isinstance(limits, dict) or len(reading.faults) > before:
        return {}
    pace: dict[str, float] = {}
    for name, key, share in (
        ("requestsPerSecond", "rate", 1.0),
        ("burst", "burst", 1),
        ("reservePercent", "reserve", 0.01),
    ):
        value = limits.get(name)
        if isinstance(value, int | float):
            pace[key] = value * share
    return pace


def _credentials(given: dict[str, Json] | None) -> Credentials | None:
    if given is None:
        return None
    return Credentials({name: str(value) for name, value in given.items() if value is not None})

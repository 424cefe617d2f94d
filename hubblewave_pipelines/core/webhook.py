"""A webhook as clients write it: read with every fault at once, and refused where it could do harm."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hubblewave_pipelines.core.backoff import PRESETS
from hubblewave_pipelines.core.egress import Allow, check_url
from hubblewave_pipelines.core.entity import Catalog, Entity, Json
from hubblewave_pipelines.core.errors import BlockedTarget, Fault, Invalid, MalformedRequest
from hubblewave_pipelines.core.event_types import VERBS, parse_pattern, type_of
from hubblewave_pipelines.core.filters import Conditions
from hubblewave_pipelines.core.query import Filter
from hubblewave_pipelines.core.reading import Reading, below
from hubblewave_pipelines.core.signature import secret_fault
from hubblewave_pipelines.core.values import Refused

KNOWN = (
    "name", "url", "events", "active", "secret", "headers", "transform", "filter", "retryConfig",
    "ordering", "orderingEscapeHours",
)  # fmt: skip
ORDERINGS = ("none", "per_key")
MAX_EVENTS, MAX_HEADERS, MAX_HEADER_VALUE, MAX_TRANSFORM = 100, 20, 4096, 64 * 1024

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")  # RFC 9110 5.6.2
_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?")
# What the sender itself says, what belongs to one hop (RFC 9110 7.6.1), and what frames the body.
_REFUSED = frozenset(
    {
        "host", "connection", "keep-alive", "proxy-connection", "proxy-authenticate",
        "proxy-authorization", "te", "trailer", "transfer-encoding", "upgrade", "expect",
        "accept-encoding", "date", "user-agent", "cookie",
    }
)  # fmt: skip
_REFUSED_STARTS = ("content-", "x-hubblewave-", "webhook-", "proxy-")


@dataclass(frozen=True, slots=True)
class WebhookWish:
    """A webhook that somebody asks for. `given` are the keys that the body held."""

    name: str
    url: str
    events: tuple[str, ...]
    active: bool = True
    secret: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    transform: str | None = None
    filter: dict[str, Json] | None = None
    retry_config: Mapping[str, Json] = field(default_factory=dict)
    ordering: str = "none"
    ordering_escape_hours: int = 24
    given: frozenset[str] = frozenset()


class _Body(Reading):
    """Faults of headers are those of a request that cannot be sent, so they answer 400."""

    def __init__(self) -> None:
        super().__init__()
        self.headers_refused = False


def parse_webhook(
    body: Json, *, catalog: Catalog, allow: Allow, secret: bool = True
) -> WebhookWish:
    """Raises Invalid with every fault, MalformedRequest when a header is among them, and
    BlockedTarget when only the URL is out of bounds. `secret`: whether one may be brought.
    """
    if not isinstance(body, dict):
        detail = "The body must be a JSON object."
        raise Invalid(detail, faults=[Fault("type", "expected an object", "#")])
    reading = _Body()
    reading.keys(body, KNOWN if secret else [k for k in KNOWN if k != "secret"], "#")
    url, blocked = _url(reading, body, allow)
    events = _events(reading, body, catalog)
    wish = WebhookWish(
        name=_name(reading, body) or url.partition("://")[2].partition("/")[0][:200],
        url=url,
        events=events,
        active=body.get("active") is None or reading.flag(body, "active", "#"),
        secret=_secret(reading, body),
        headers=_headers(reading, body),
        transform=reading.text(body, "transform", "#", longest=MAX_TRANSFORM) or None,
        filter=_filter(reading, body, events, catalog),
        retry_config=_retry(reading, body),
        ordering=_ordering(reading, body),
        ordering_escape_hours=reading.whole(body, "orderingEscapeHours", "#", least=1, most=720)
        or 24,
        given=frozenset(body),
    )
    if blocked is not None:
        reading.fault("#/url", "blocked", blocked.detail)
        if len(reading.faults) == 1:
            raise BlockedTarget(blocked.detail, faults=reading.faults)
    if reading.headers_refused:
        raise MalformedRequest("The webhook's headers cannot be sent.", faults=reading.faults)
    if reading.faults:
        raise Invalid("The webhook cannot be stored.", faults=reading.faults)
    return wish


def _name(reading: Reading, body: dict[str, Json]) -> str:
    return (reading.text(body, "name", "#", longest=200) or "").strip()


def _url(reading: Reading, body: dict[str, Json], allow: Allow) -> tuple[str, BlockedTarget | None]:
    url = reading.text(body, "url", "#", longest=2048)
    if url is None:
        if body.get("url") is None:
            reading.fault("#/url", "required", "url is required")
        return "", None
    try:
        return check_url(url, allow).url, None
    except BlockedTarget as blocked:
        return url, blocked


def _events(reading: Reading, body: dict[str, Json], catalog: Catalog) -> tuple[str, ...]:
    value = body.get("events")
    if value is None:
        reading.fault("#/events", "required", "events is required: list what to send")
        return ()
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        reading.fault("#/events", "type", "events must be a list of strings")
        return ()
    if not 1 <= len(value) <= MAX_EVENTS:
        reading.fault("#/events", "length", f"events must hold 1 to {MAX_EVENTS} types")
        return ()
    found: dict[str, None] = {}
    for index, item in enumerate(value):
        pattern = parse_pattern(item, catalog, below("#/events", index))
        if isinstance(pattern, Fault):
            reading.faults.append(pattern)
        else:
            found[pattern] = None
    return tuple(found)


def _secret(reading: Reading, body: dict[str, Json]) -> str | None:
    secret = reading.text(body, "secret", "#", longest=1000)
    fault = None if secret is None else secret_fault(secret)
    if fault is not None:
        reading.fault("#/secret", "format", f"secret {fault}")
    return secret


def _headers(reading: _Body, body: dict[str, Json]) -> dict[str, str]:
    value = body.get("headers")
    if value is None:
        return {}
    if not isinstance(value, dict):
        reading.fault("#/headers", "type", "headers must be an object of names and values")
        return {}
    before = len(reading.faults)
    if len(value) > MAX_HEADERS:
        reading.fault("#/headers", "length", f"{len(value)} headers; at most {MAX_HEADERS}")
    seen: set[str] = set()
    for name, text in value.items():
        at, lower = below("#/headers", name[:100]), name.lower()
        if _TOKEN.fullmatch(name) is None:
            reading.fault(at, "format", "is no name of an HTTP header")
        elif lower in _REFUSED or lower.startswith(_REFUSED_STARTS):
            reading.fault(at, "reserved", f"{name} is set by the sender or belongs to one hop")
        elif lower in seen:
            reading.fault(at, "duplicate", f"{name} is given twice")
        elif not isinstance(text, str):
            reading.fault(at, "type", "a header's value is a string")
        elif len(text) > MAX_HEADER_VALUE:
            reading.fault(at, "length", f"{len(text)} characters; at most {MAX_HEADER_VALUE}")
        elif _VALUE.fullmatch(text) is None:
            reading.fault(at, "format", "a value is printable ASCII without line ends")
        seen.add(lower)
    reading.headers_refused = len(reading.faults) > before
    return {} if reading.headers_refused else {str(k): str(v) for k, v in value.items()}


def filtered_entity(events: tuple[str, ...], catalog: Catalog) -> Entity | None:
    """The one entity that all patterns are about, or None: a filter's fields would mean nothing."""
    subjects = {pattern.partition(".")[0] for pattern in events}
    if len(subjects) != 1:
        return None
    (subject,) = subjects
    return next((e for e in catalog if type_of(e, VERBS[0]) == f"{subject}.{VERBS[0]}"), None)


def read_filter(value: Json, events: tuple[str, ...], catalog: Catalog) -> tuple[Entity, Filter]:
    """The entity and the condition of a `filter`. Raises Refused."""
    entity = filtered_entity(events, catalog)
    if entity is None:
        raise Refused("events", "a filter needs events that are all of one entity's records")
    return entity, Conditions(catalog).tree(entity, value)


def _filter(
    reading: Reading, body: dict[str, Json], events: tuple[str, ...], catalog: Catalog
) -> dict[str, Any] | None:
    value = body.get("filter")
    if value is None:
        return None
    if not isinstance(value, dict) or not value:
        reading.fault("#/filter", "type", 'filter is an object like {"total":{"gte":10}}')
        return None
    if events:
        try:
            read_filter(value, events, catalog)
        except Refused as refused:
            reading.fault("#/filter", refused.code, f"filter {refused.detail}")
    return value


def _retry(reading: Reading, body: dict[str, Json]) -> dict[str, Json]:
    value = body.get("retryConfig")
    if value is None:
        return {}
    at = "#/retryConfig"
    if not isinstance(value, dict):
        reading.fault(at, "type", "retryConfig must be an object")
        return {}
    reading.keys(value, ("maxAttempts", "backoffMultiplier", "preset"), at)
    if value.get("preset") is not None:
        preset = reading.choice(value, "preset", at, tuple(PRESETS))
        if value.get("maxAttempts") is not None or value.get("backoffMultiplier") is not None:
            reading.fault(at, "exclusive", "a preset has its own attempts and multiplier")
        return {} if preset is None else {"preset": preset}
    found: dict[str, Json] = {}
    attempts = reading.whole(value, "maxAttempts", at, least=1, most=20)
    if attempts is not None:
        found["maxAttempts"] = attempts
    multiplier = value.get("backoffMultiplier")
    if multiplier is not None:
        number = isinstance(multiplier, int | float) and not isinstance(multiplier, bool)
        if not number:
            reading.fault(below(at, "backoffMultiplier"), "type", "must be a number")
        elif not math.isfinite(multiplier) or not 1 <= multiplier <= 10:
            reading.fault(below(at, "backoffMultiplier"), "range", "must be from 1 to 10")
        else:
            found["backoffMultiplier"] = multiplier
    return found


def _ordering(reading: Reading, body: dict[str, Json]) -> str:
    if body.get("ordering") is None:
        return "none"
    return reading.choice(body, "ordering", "#", ORDERINGS) or "none"

"""What a vendor's module gives to the shared part of sandboxes: routes, error bodies and data that change."""

import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from hubblewave_pipelines.sandboxes.clock import Clock
from hubblewave_pipelines.sandboxes.faults import Fault, FaultKind
from hubblewave_pipelines.sandboxes.stage import Stage

_FAULT = "hubblewave.fault"


@dataclass(frozen=True, slots=True)
class Options:
    """How a sandbox starts. The same seed and records give the same data, relative to the clock's start."""

    records: int = 1_000
    seed: int = 1
    start: datetime | None = None  # of the virtual clock; None: real time
    edits_per_second: float = 0.0
    faults: tuple[Fault, ...] = ()
    outages: tuple["Outage", ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)  # the vendor's own switches


@dataclass(frozen=True, slots=True)
class Outage:
    """From `start` until `end` by the sandbox's clock, every request meets the fault."""

    start: datetime
    end: datetime
    kind: FaultKind = FaultKind.ERROR_503

    @classmethod
    def parse(cls, text: str, now: datetime) -> "Outage":
        """`10:00-12:00` (UTC, of the day of `now`), `+60-+7200` (seconds after `now`) or two ISO
        8601 instants with a slash between them. Raises ValueError.
        """
        first, _, last = text.partition("/" if "/" in text else "-")
        start, end = _instant(first, now), _instant(last, now)
        if end <= start:
            raise ValueError(f"{text!r}: the outage ends before it starts.")
        return cls(start, end)


def _instant(text: str, now: datetime) -> datetime:
    if text.startswith("+"):
        return now + timedelta(seconds=float(text[1:]))
    if ":" in text and "T" not in text:
        hour, _, minute = text.partition(":")
        return now.replace(hour=int(hour), minute=int(minute), second=0, microsecond=0)
    found = datetime.fromisoformat(text)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


class Vendor(ABC):
    """One vendor's stand-in. Its module offers `build(options) -> Vendor`."""

    name: ClassVar[str]

    def __init__(self, options: Options) -> None:
        self.options = options
        self.clock = Clock(options.start)
        self.started = self.clock.now()
        self.stage = Stage(self.clock)
        self.random = random.Random(options.seed)  # noqa: S311 - repeatable is what is wanted

    @abstractmethod
    def routes(self) -> Sequence[BaseRoute]:
        """The vendor's own paths, async handlers; their names are the operations that are counted."""

    @abstractmethod
    def refusal(self, fault: Fault, path: str) -> Response:
        """The vendor's own form of one of `faults.ANSWERS`."""

    @abstractmethod
    def connector(self, url: str) -> dict[str, Any]:
        """`{"type", "config", "credentials"}` of a connector that reaches the sandbox at `url`."""

    @abstractmethod
    def create(self, table: str, values: Mapping[str, Any], at: datetime) -> str:
        """Make a record as a user of the vendor would; returns its key."""

    @abstractmethod
    def edit(self, table: str, key: str, values: Mapping[str, Any], at: datetime) -> None:
        """Change a record, its stamp and version with it. Raises KeyError when there is none."""

    @abstractmethod
    def delete(self, table: str, key: str, at: datetime) -> None:
        """Delete a record, as the vendor's delete does. Raises KeyError when there is none."""

    @abstractmethod
    def touch(self, at: datetime) -> None:
        """One change that a person might make, chosen by `self.random`."""

    def controls(self) -> Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]]:
        """The vendor's own control requests by name: each takes the body of a POST to
        `/__sandbox/{name}` and gives the answer; ValueError, KeyError and TypeError are refusals.
        """
        return {}

    def errors(self) -> Mapping[Any, Callable[[Request, Any], Awaitable[Response]]]:
        """Exceptions of handlers and the answers they become."""
        return {}


def befallen(request: Request, *kinds: FaultKind) -> Fault | None:
    """The fault of this request when it is one of `kinds`; a handler that asks applies it."""
    fault: Fault | None = request.scope.get(_FAULT)
    if fault is None or fault.kind not in kinds:
        return None
    request.scope["hubblewave.applied"] = True
    return fault


def on(switch: Any) -> bool:
    """Whether a switch of `Options.extra` is on; from the command line it comes as text."""
    return str(switch).lower() in ("1", "true", "yes", "on")

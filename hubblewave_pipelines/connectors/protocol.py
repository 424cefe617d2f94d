"""The protocol of a connector: what the sync engine asks of an external system, and in which words."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from hubblewave_pipelines.core.entity import Json
from hubblewave_pipelines.core.stream import (
    CheckReport,
    ConnectorType,
    DeletePage,
    KeyPage,
    Mark,
    Page,
    ReadPlan,
    Slice,
    Stream,
    Window,
)
from hubblewave_pipelines.outbound.session import Session


class Connector(Protocol):
    """One configured external system. Made by its type's `connect(config, session)`; holds no state
    between calls but what can be asked again. All HTTP goes through the session, which counts,
    waits, retries, signs in and redacts; what it raises (`core.errors`) is passed through.
    """

    def check(self) -> CheckReport:
        """What is right and wrong with the connection; never raises for what an admin can mend."""
        ...

    def discover(self) -> Sequence[Stream]:
        """Every stream that the credentials can see, without their fields where that costs a request each."""
        ...

    def describe(self, stream: str) -> Stream:
        """One stream with its fields. Raises UnknownStream."""
        ...

    def safe_mark(self, stream: Stream) -> Mark: ...

    def plan(
        self, stream: Stream, fields: Sequence[str], window: Window, *, filter: str | None = None
    ) -> ReadPlan: ...

    def read(self, plan: ReadPlan, part: Slice, position: Json | None) -> Iterator[Page]:
        """The pages of one slice in the order of an immutable key, from `position` (None: the start).

        A record that changes while it is read appears at most once. Raises PartialAnswer rather
        than give a page that the system itself calls incomplete.
        """
        ...

    def deletes(
        self, stream: Stream, window: Window, position: Json | None
    ) -> Iterator[DeletePage]: ...

    def keys(
        self, stream: Stream, position: Json | None, *, filter: str | None = None
    ) -> Iterator[KeyPage]:
        """All keys there are, in the order of the key."""
        ...

    def count(self, stream: Stream, window: Window, *, filter: str | None = None) -> int | None:
        """How many records the window has by the system's own count; None where it cannot tell."""
        ...

    def fetch(self, stream: Stream, fields: Sequence[str], keys: Sequence[str]) -> Page:
        """These records as they are now, read strongly; those that do not exist are left out."""
        ...


class ConnectorModule(Protocol):
    """What each vendor's package (`connectors/<vendor>/__init__.py`) offers to the registry.

    `TYPE.config` is a JSON Schema with at least `baseUrl`, where the session starts; `TYPE.credentials`
    is made by `core.credentials.credentials_schema(kinds...)`. A package may also have `MANNERS`
    (`outbound.manners.Manners`): where tokens come from, how quota is told, what becomes of foreign links.
    """

    TYPE: ConnectorType

    def connect(self, config: dict[str, Any], session: Session) -> Connector: ...

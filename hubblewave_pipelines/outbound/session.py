"""A session with one external system: every request that a connector makes, counted, bounded and retried."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from hubblewave_pipelines.core.entity import Json


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. `body` is inflated; `at` is our clock when it arrived."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes
    at: datetime
    url: str

    def json(self) -> Json:
        """Numbers with a fraction as Decimal. Raises PartialAnswer when the text is not all there."""
        raise NotImplementedError


class Streamed(Protocol):
    """An answer whose body is read as it comes."""

    status: int
    headers: Mapping[str, str]

    def blocks(self) -> Iterator[bytes]:
        """Inflated blocks. Raises PartialAnswer when the connection ends before the body does."""
        ...


class Session(Protocol):
    """`path` is relative to the base URL of the connector, or an absolute URL of the same origin
    (another origin raises ForeignLink). `safe` requests (GET, and writes that carry a key or a
    condition) may be sent again; an unsafe one that may have had its effect raises InDoubt.

    Raises ConnectionRefusedByPolicy, Unauthorized, QuotaSpent, VendorUnavailable, PartialAnswer,
    InDoubt or VendorRefused (any other status that `accept` does not name).
    """

    base_url: str
    requests: int  # sent so far, retries included

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        json: Json | None = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        accept: tuple[int, ...] = (),
        safe: bool | None = None,
        timeout: float | None = None,
    ) -> Answer: ...

    def stream(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AbstractContextManager[Streamed]: ...

    def wait(self, seconds: float) -> None:
        """Sleep for a poll, as the run's cancellation allows."""
        ...

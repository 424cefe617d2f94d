"""A session with one external system as connectors see it: every request counted, bounded and retried."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol

import msgspec

from hubblewave_pipelines.core.entity import Json
from hubblewave_pipelines.core.errors import PartialAnswer

_DECODER = msgspec.json.Decoder(float_hook=Decimal)


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. `body` is inflated; `at` is our clock when it arrived."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes
    at: datetime
    url: str

    def json(self) -> Any:
        """Numbers with a fraction as Decimal. Raises PartialAnswer when the text is not all there."""
        try:
            return _DECODER.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise PartialAnswer(
                "The system's answer is not whole JSON: it was cut off, or a page for people was sent"
                " in its place."
            ) from error


class Streamed(Protocol):
    """An answer whose body is read as it comes."""

    status: int
    headers: Mapping[str, str]

    def blocks(self) -> Iterator[bytes]:
        """Inflated blocks. Raises PartialAnswer when the connection ends before the body does."""
        ...


class Session(Protocol):
    """`path` is relative to the base URL of the connector (a leading `/` starts at the base URL's own
    path), or an absolute URL of the same origin; another origin raises ForeignLink unless the vendor's
    manners say otherwise. `safe` requests (by default GET, HEAD and OPTIONS; say so for writes that
    carry a key or a condition) may be sent again; an unsafe one that may have had its effect raises
    InDoubt. `params` are percent-encoded, spaces as %20.

    Raises ConnectionRefusedByPolicy, Unauthorized, QuotaSpent, VendorUnavailable, PartialAnswer,
    InDoubt or VendorRefused (any status beside 2xx that `accept` does not name).
    """

    base_url: str

    @property
    def requests(self) -> int:
        """Sent so far, retries and token requests included."""
        ...

    @property
    def retries(self) -> int:
        """How many of the requests were sent because an earlier one came to nothing."""
        ...

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

    def redacted(self, text: str) -> str:
        """The text without the connection's secrets; for what the system said and people shall read."""
        ...

    def credential(self, name: str) -> str | None:
        """A member of the credentials as an admin gave them, for what speaks something else than
        HTTP to the same system; whatever it is, `redacted` knows it.
        """
        ...

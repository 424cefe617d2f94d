"""One request of a connector over all its attempts, and the limits it is held to."""

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from hubblewave_pipelines.core.backoff import RetryPolicy
from hubblewave_pipelines.core.errors import VendorError

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds, bytes and counts of one request. `total` is for the whole exchange of one attempt, `patience`
    for all the waiting between attempts; a longer Retry-After is passed on, never shortened."""

    connect: float = 10.0
    read: float = 60.0
    total: float = 300.0
    patience: float = 300.0
    max_body: int = 64 * 1024 * 1024
    connections: int = 8
    retries: RetryPolicy = field(default_factory=lambda: RetryPolicy(max_attempts=5))


@dataclass(slots=True)
class Asked:
    """`failed` is what the last attempt came to; `waited` the seconds spent between attempts."""

    method: str
    url: str
    headers: dict[str, str]
    content: bytes | None
    accept: tuple[int, ...]
    safe: bool
    total: float
    attempt: int = 0
    hops: int = 0
    waited: float = 0.0
    renewed: bool = False
    failed: VendorError | None = None

    @property
    def shown(self) -> str:
        """For errors and the log: without parameters, which may hold what nobody shall read."""
        return f"{self.method} {urlsplit(self.url).path or '/'}"

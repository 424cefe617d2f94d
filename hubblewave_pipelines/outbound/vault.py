"""Where a session has its credentials from, and how it renews them once for all processes."""

import threading
from collections.abc import Callable
from typing import Protocol

from hubblewave_pipelines.core.credentials import REJECTED, Credentials, Held
from hubblewave_pipelines.core.errors import Unauthorized

Renewal = Callable[[Credentials], Credentials]


class Vault(Protocol):
    """The stored credentials of one connection."""

    def held(self) -> Held: ...

    def renew(self, stale: int, renewal: Renewal) -> Held:
        """Turn the credentials of generation `stale` into newer ones, by one caller at a time.

        Whoever finds that another was quicker gets what that one stored, and `renewal` is not
        called. What `renewal` returns is stored durably before anybody uses it. When it raises
        Unauthorized the generation is marked as rejected, and later calls raise Unauthorized
        without asking the system.
        """
        ...


class MemoryVault:
    """The credentials of one process."""

    def __init__(self, credentials: Credentials) -> None:
        self._held = Held(credentials, 1)
        self._lock = threading.Lock()

    def held(self) -> Held:
        return self._held

    def renew(self, stale: int, renewal: Renewal) -> Held:
        with self._lock:
            held = self._held
            if held.rejected:
                raise Unauthorized(REJECTED)
            if held.generation != stale:
                return held
            try:
                renewed = renewal(held.credentials)
            except Unauthorized:
                self._held = Held(held.credentials, stale, rejected=True)
                raise
            self._held = Held(renewed, stale + 1)
            return self._held

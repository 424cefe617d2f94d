"""What a sandbox was asked: counters, and the last requests one by one."""

from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import datetime

_KEPT = 2_000


@dataclass(slots=True)
class Asked:
    """One request; `operation` is the name of the vendor's handler, `fault` what befell it."""

    number: int
    at: datetime
    method: str
    path: str
    query: str
    operation: str = ""
    status: int | None = None  # None: the connection ended without one
    fault: str | None = None


@dataclass(slots=True)
class Traffic:
    """Requests to the vendor's own paths since the start or the last reset."""

    total: int = 0
    operations: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    log: deque[Asked] = field(default_factory=lambda: deque(maxlen=_KEPT))

    def begin(self, at: datetime, method: str, path: str, query: str) -> Asked:
        self.total += 1
        asked = Asked(self.total, at, method, path, query)
        self.log.append(asked)
        return asked

    def end(self, asked: Asked) -> None:
        self.operations[asked.operation or asked.path] += 1
        if asked.status is not None:
            self.statuses[asked.status] += 1

    def clear(self) -> None:
        self.total = 0
        self.operations.clear()
        self.statuses.clear()
        self.log.clear()

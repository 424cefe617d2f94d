"""Faults: what can go wrong with a request, how often, and which request it befalls."""

import random
import re
import threading
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum


class FaultKind(StrEnum):
    """One list for all vendors. Those after `slow` are the vendor's own: its handlers look for them."""

    REFUSE = "refuse"  # the connection ends before anything is read
    RESET_BEFORE = "reset_before"  # it ends before the request has its effect
    RESET_AFTER = "reset_after"  # it ends after the effect, before the answer
    TRUNCATE = "truncate"  # half of the answer's body arrives
    UNAUTHORIZED = "unauthorized"
    QUOTA = "quota"
    THROTTLE_SECONDS = "throttle_seconds"  # 429 with Retry-After in seconds
    THROTTLE_DATE = "throttle_date"  # 429 with Retry-After as an HTTP date
    ERROR_500 = "error_500"
    ERROR_503 = "error_503"
    EDGE_PAGE = "edge_page"  # an HTML page of something in between
    SLOW = "slow"  # the answer takes `seconds` longer
    ROWS_AND_ERROR = "rows_and_error"  # 200 with some rows and an error beside them
    REPEATED_TOKEN = "repeated_token"  # noqa: S105 - a page's token, not a secret
    EMPTY_PAGE_WITH_TOKEN = "empty_page_with_token"  # noqa: S105 - the same
    SHORT_PAGE = "short_page"
    WRONG_ZONE = "wrong_zone"  # filters by time are read in another zone
    DUPLICATE_ROW = "duplicate_row"  # a row of the page before comes again
    UNSERVICED = "unserviced"  # items of a batch that were not looked at
    CSRF_EXPIRED = "csrf_expired"
    PRECONDITION = "precondition"  # 412 or 428


CONNECTION = frozenset(
    {FaultKind.REFUSE, FaultKind.RESET_BEFORE, FaultKind.RESET_AFTER, FaultKind.TRUNCATE}
)
ANSWERS = frozenset(
    {
        FaultKind.UNAUTHORIZED,
        FaultKind.QUOTA,
        FaultKind.THROTTLE_SECONDS,
        FaultKind.THROTTLE_DATE,
        FaultKind.ERROR_500,
        FaultKind.ERROR_503,
        FaultKind.EDGE_PAGE,
    }
)


@dataclass(frozen=True, slots=True)
class Fault:
    """`request` befalls exactly the k-th request since the faults were set (from 1); `rate` befalls
    that share of all of them. `path` is a pattern that the request's path must contain.
    """

    kind: FaultKind
    rate: float = 0.0
    request: int | None = None
    seconds: float = 1.0  # of slow answers, and of Retry-After
    path: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Fault":
        """`throttle_seconds:0.05`, `slow:10%:5` (five seconds) or `truncate@3` (the third request).

        Raises ValueError that says what is wrong.
        """
        found = re.fullmatch(
            r"(?P<kind>\w+)(?:@(?P<request>\d+)|:(?P<rate>\d*\.?\d+)(?P<percent>%)?)?"
            r"(?::(?P<seconds>\d+(?:\.\d+)?))?",
            text,
        )
        if found is None:
            raise ValueError(f"{text!r} is not KIND:RATE, KIND:RATE:SECONDS or KIND@NUMBER.")
        if found["kind"] not in list(FaultKind):
            raise ValueError(f"{found['kind']!r} is no fault; there are {', '.join(FaultKind)}.")
        rate = float(found["rate"] or (0 if found["request"] else 1))
        rate = rate / 100 if found["percent"] else rate
        if rate > 1:
            raise ValueError(f"{text!r}: a rate is a share from 0 to 1, or up to 100%.")
        request = None if found["request"] is None else int(found["request"])
        return cls(FaultKind(found["kind"]), rate, request, float(found["seconds"] or 1))


@dataclass(slots=True)
class FaultPlan:
    """Which requests go wrong, by number or by a seeded dice. At most one fault per request."""

    seed: int = 1
    faults: tuple[Fault, ...] = ()
    applied: Counter[str] = field(default_factory=Counter)
    asked: int = 0  # requests since the faults were set
    _dice: random.Random = field(default_factory=random.Random)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def set(self, *faults: Fault) -> None:
        """Replace all faults; requests count from 1 again and the dice start anew."""
        with self._lock:
            self.faults = faults
            self.asked = 0
            self._dice = random.Random(self.seed)  # noqa: S311 - repeatable is what is wanted

    def next(self, path: str) -> Fault | None:
        """The fault of the request that comes now."""
        with self._lock:
            self.asked += 1
            for fault in self.faults:
                if fault.path is not None and not re.search(fault.path, path):
                    continue
                if fault.request is not None:
                    if fault.request == self.asked:
                        return fault
                elif self._dice.random() < fault.rate:
                    return fault
        return None

"""What Salesforce tells of an object without its records: up to when changes are certain, and deletes."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from hubblewave_pipelines.connectors.salesforce.clock import ServerClock
from hubblewave_pipelines.connectors.salesforce.config import Config
from hubblewave_pipelines.connectors.salesforce.refusals import code_of
from hubblewave_pipelines.core.errors import VendorRefused
from hubblewave_pipelines.core.stream import Deleted, DeletePage, Mark, Stream, Window
from hubblewave_pipelines.outbound.session import Session

_MINUTE = timedelta(minutes=1)
_KEPT = timedelta(days=15)  # of what was deleted
_UNTOLD = frozenset({"EXCEEDED_ID_LIMIT", "INVALID_REPLICATION_DATE", "OPERATION_TOO_LARGE"})


class Feed:
    """`now` is Salesforce's time, asked for where it is not known."""

    def __init__(
        self, config: Config, session: Session, clock: ServerClock, now: Callable[[], datetime]
    ) -> None:
        self._config = config
        self._session = session
        self._clock = clock
        self._now = now

    def mark(self, stream: Stream) -> Mark:
        """`latestDateCovered` minds transactions that are still open: nothing older can appear."""
        now = self._now()
        if stream.cursor is None:
            return Mark(now, "Salesforce's clock")
        told = self._told(stream, "updated", now - 2 * _MINUTE, now + 2 * _MINUTE)
        then = self._now()  # as the answer itself has it
        if then > now + _MINUTE:  # its clock has jumped, or this machine slept
            told = self._told(stream, "updated", then - 2 * _MINUTE, then + 2 * _MINUTE)
            then = self._now()
        return Mark(min(_instant(told["latestDateCovered"]), then), "latestDateCovered")

    def deletes(self, stream: Stream, window: Window) -> Iterator[DeletePage]:
        """Seconds are not looked at by Salesforce: whole minutes are asked for, the window is kept."""
        now = self._now()
        low, high = window.low, window.high or now
        if low is None or low < now - _KEPT:
            yield DeletePage((), None, covered=False, min_requests=0)
            return
        start = low.replace(second=0, microsecond=0)
        end = max(high.replace(second=0, microsecond=0) + _MINUTE, start + 2 * _MINUTE)
        try:
            told = self._told(stream, "deleted", start, end)
        except VendorRefused as error:
            if code_of(error) not in _UNTOLD:
                raise
            yield DeletePage((), None, covered=False)
            return
        gone = [
            (str(found["id"]), _instant(found["deletedDate"])) for found in told["deletedRecords"]
        ]
        covered = (
            _instant(told["earliestDateAvailable"]) <= low
            and _instant(told["latestDateCovered"]) >= high
        )
        deleted = tuple(Deleted(key, at) for key, at in gone if low <= at < high)
        yield DeletePage(deleted, None, covered)

    def _told(self, stream: Stream, which: str, start: datetime, end: datetime) -> dict[str, Any]:
        answer = self._session.request(
            "GET",
            f"{self._config.data}/sobjects/{stream.name}/{which}/",
            params={"start": _shown(start), "end": _shown(end)},
        )
        told: dict[str, Any] = self._clock.see(answer).json()
        return told


def _shown(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S}+00:00"


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)

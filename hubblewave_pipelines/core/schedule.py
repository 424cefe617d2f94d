"""A cron schedule in a time zone: read, and the instants at which it is due."""

from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, available_timezones

from croniter import croniter
from croniter.croniter import CroniterError

from hubblewave_pipelines.core.entity import Json
from hubblewave_pipelines.core.reading import Reading

_FIELDS = 5
_LONGEST = 100


@dataclass(frozen=True, slots=True)
class Schedule:
    """Five cron fields, read on the clocks of `timezone`.

    A wall-clock time that a change of summer time skips is due right after the gap; one that comes
    twice is due the first time only, unless the hours are given with a `*`.
    """

    cron: str
    timezone: str

    def next_after(self, now: datetime) -> datetime:
        """The first instant after `now`, which must carry a time zone; in UTC."""
        times = croniter(self.cron, now.astimezone(ZoneInfo(self.timezone)))
        found: datetime = times.get_next(datetime)
        while found.fold and "*" not in self.cron.split()[1]:
            found = times.get_next(datetime)
        return found.astimezone(UTC)


def parse_schedule(cron: Json, timezone: Json, reading: Reading) -> Schedule | None:
    """The schedule that a body gives under `schedule` and `timezone` (default UTC), or None.

    Faults go to `reading`.
    """
    if cron is None:
        if timezone is not None:
            reading.fault("#/timezone", "exclusive", "timezone is for a schedule")
        return None
    zone = "UTC" if timezone is None else timezone
    if not isinstance(zone, str) or zone not in available_timezones():
        reading.fault("#/timezone", "enum", "must be a time zone such as Europe/Berlin")
        zone = "UTC"
    if not isinstance(cron, str) or len(cron) > _LONGEST or len(cron.split()) != _FIELDS:
        reading.fault(
            "#/schedule", "format", "must be five cron fields, such as 30 2 * * * (daily at 02:30)"
        )
        return None
    schedule = Schedule(" ".join(cron.split()), zone)
    try:
        schedule.next_after(datetime(2000, 1, 1, tzinfo=UTC))
    except (CroniterError, ValueError, KeyError) as error:
        reading.fault("#/schedule", "format", f"is not a cron schedule: {str(error)[:200]}")
        return None
    return schedule

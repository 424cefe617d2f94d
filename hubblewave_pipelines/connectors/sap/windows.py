"""A window of changes as a $filter: by instant, or by the days it touches."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

from hubblewave_pipelines.connectors.sap.config import Config
from hubblewave_pipelines.connectors.sap.edmx import Property
from hubblewave_pipelines.connectors.sap.streams import Change
from hubblewave_pipelines.connectors.sap.values import iso, literal
from hubblewave_pipelines.core.errors import VendorRefused
from hubblewave_pipelines.core.stream import Window

_LEAST = timedelta(microseconds=1)
_DAY = timedelta(days=1)


def window_filter(
    change: Change | None, window: Window, config: Config, version: int, *, counting: bool = False
) -> str | None:
    """None where everything is asked for, or nothing can be told apart.

    A day belongs to a window when any instant of it does, so that a window of dates is read whole
    at both edges; when `counting`, only days that also begin in it, as their midnight in UTC is what
    is kept of them here. Records whose change field is empty have not changed since they were
    created.
    """
    if change is None or (window.low is None and window.high is None):
        return None
    if not change.by_day:
        own = _instants(change.field, window, version)
        if window.low is None and change.field.nullable:
            return f"{own} or {change.field.name} eq null"
        return own
    days = _days(window, config, counting=counting)
    own = _between(change.field, days, version)
    if change.created is None:
        return f"{own} or {change.field.name} eq null" if days[0] is None else own
    born = _between(change.created, days, version)
    return f"({own}) or ({change.field.name} eq null and {born})"


def _instants(prop: Property, window: Window, version: int) -> str:
    parts = []
    if window.low is not None:
        parts.append(f"{prop.name} ge {_literal(prop, iso(window.low), version)}")
    if window.high is not None:
        parts.append(f"{prop.name} lt {_literal(prop, iso(window.high), version)}")
    return " and ".join(parts)


def _literal(prop: Property, text: str, version: int) -> str:
    return literal(prop, text.removesuffix("Z") if prop.edm == "DateTime" else text, version)


def _days(window: Window, config: Config, *, counting: bool) -> tuple[date | None, date | None]:
    """The first and the last day of a window, by the system's zone."""
    low = high = None
    if window.low is not None:
        low = window.low.astimezone(config.zone).date()
        if counting:  # the first midnight in UTC that is not before the window
            low = max(low, (window.low + _DAY - _LEAST).astimezone(UTC).date())
    if window.high is not None:
        last = window.high - _LEAST
        high = last.astimezone(config.zone).date()
        if counting:
            high = min(high, last.astimezone(UTC).date())
    return low, high


def _between(prop: Property, days: tuple[date | None, date | None], version: int) -> str:
    signed = zip(("ge", "le"), days, strict=True)
    return " and ".join(
        f"{prop.name} {sign} {literal(prop, day.isoformat(), version)}"
        for sign, day in signed
        if day is not None
    )


def check_echo(
    change: Change | None, window: Window, config: Config, cells: Sequence[str | None]
) -> None:
    """Raises VendorRefused when a record lies outside of the window that was asked for: a service
    that passes over a filter, or reads it in another zone, would lose records elsewhere.
    """
    if change is None:
        return
    low = high = None
    if window.low is not None:  # V2 cuts stamps to the millisecond
        whole = window.low.replace(microsecond=window.low.microsecond // 1000 * 1000)
        low = _comparable(change, whole, config)
    if window.high is not None:
        high = _comparable(change, window.high - _LEAST, config)
    for cell in cells:
        told = None if cell is None else cell.removesuffix("Z")
        if told is not None and (
            (low is not None and told < low) or (high is not None and told > high)
        ):
            raise VendorRefused(
                f"The service gave a record changed at {cell}, which is outside of what was asked for:"
                " it passes over the filter, or keeps its dates in another zone than timeZone says."
            )


def _comparable(change: Change, edge: datetime, config: Config) -> str:
    """As cells are written."""
    if change.by_day:
        return edge.astimezone(config.zone).date().isoformat()
    return iso(edge).removesuffix("Z")


def joined(*filters: str | None) -> dict[str, str]:
    """Several filters as one `$filter` option; none at all as no option."""
    given = [one for one in filters if one]
    if not given:
        return {}
    if len(given) == 1:
        return {"$filter": given[0]}
    return {
        "$filter": " and ".join(
            f"({one})" if " or " in one or " and " in one else one for one in given
        )
    }

"""A window of changes as a $filter: by instant, or by the days it touches."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from hubblewave_pipelines.connectors.sap.config import Config
from hubblewave_pipelines.connectors.sap.edmx import Property
from hubblewave_pipelines.connectors.sap.streams import Change
from hubblewave_pipelines.connectors.sap.values import bound, iso, literal
from hubblewave_pipelines.core.errors import VendorRefused
from hubblewave_pipelines.core.stream import Window

_LEAST = timedelta(microseconds=1)


def window_filter(
    change: Change | None, window: Window, config: Config, version: int
) -> str | None:
    """None where everything is asked for, or nothing can be told apart.

    A day belongs to a window when any instant of it does, so that a window of dates is read whole
    at both edges. Records whose change field is empty have not changed since they were created.
    """
    if change is None or (window.low is None and window.high is None):
        return None
    own = _range(change.field, change.by_day, window, config, version)
    if change.created is not None:
        born = _range(change.created, True, window, config, version)
        return f"({own}) or ({change.field.name} eq null and {born})"
    if window.low is None and change.field.nullable:
        return f"{own} or {change.field.name} eq null"
    return own


def _range(prop: Property, by_day: bool, window: Window, config: Config, version: int) -> str:
    parts = []
    if window.low is not None:
        parts.append(f"{prop.name} ge {_edge(prop, window.low, config, version)}")
    if window.high is not None:
        if by_day:
            parts.append(f"{prop.name} le {_edge(prop, window.high - _LEAST, config, version)}")
        else:
            parts.append(f"{prop.name} lt {_edge(prop, window.high, config, version)}")
    return " and ".join(parts)


def _edge(prop: Property, moment: datetime, config: Config, version: int) -> str:
    day = moment.astimezone(config.zone).date()
    return literal(prop, bound(prop, moment, day), version)


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

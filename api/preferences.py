"""Prefer (RFC 7240): what of an answer its caller would rather have, and how strict to be about it."""

from collections.abc import Collection, Iterator, Mapping
from typing import Literal, TypeAlias, cast

from starlette.datastructures import Headers

from hubblewave_pipelines.core.errors import Fault, MalformedRequest
from hubblewave_pipelines.core.query import Count

Return: TypeAlias = Literal["minimal", "representation"]

_VALUES: Mapping[str, Collection[str]] = {
    "return": ("minimal", "representation"),
    "handling": ("strict", "lenient"),
    "count": tuple(Count),
}


def _given(headers: Headers) -> Iterator[tuple[str, str]]:
    for part in ",".join(headers.getlist("prefer")).split(","):
        name, _, value = part.partition(";")[0].partition("=")
        if name.strip():
            yield name.strip().lower(), value.strip().strip('"').lower()


def _preferred(headers: Headers, name: str) -> str | None:
    """What the header asks for; None when nothing that is known here. The first one counts."""
    if "prefer" not in headers:
        return None
    values = (value for given, value in _given(headers) if given == name)
    return next((value for value in values if value in _VALUES[name]), None)


def preferred_wait(headers: Headers, *, usual: float, most: float) -> float:
    """For how many seconds an answer may be waited for (RFC 7240 4.3), within bounds."""
    if "prefer" in headers:
        for name, value in _given(headers):
            if name == "wait" and value.isascii() and value.isdigit():
                return min(float(value[:6]), most)
    return usual


def preferred_return(headers: Headers) -> Return | None:
    """Whether the answer to a write shows the record or only says that it was made."""
    return cast(Return | None, _preferred(headers, "return"))


def preferred_count(headers: Headers) -> str | None:
    """Whether and how a list is counted."""
    return _preferred(headers, "count")


def require_preferences(headers: Headers, *heeded: str) -> None:
    """With `handling=strict`, a preference that would be ignored here is refused instead.

    Raises MalformedRequest naming each.
    """
    if _preferred(headers, "handling") != "strict":
        return
    faults = [
        Fault("preference", f"{name}={value[:60]} is not heeded here", parameter="Prefer")
        for name, value in _given(headers)
        if name not in ("handling", *heeded) or value not in _VALUES[name]
    ]
    if faults:
        named = "; ".join(fault.detail for fault in faults[:3])
        raise MalformedRequest(f"Prefer: {named}.", faults=faults)

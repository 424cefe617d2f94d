"""Conditional requests: a record's ETag, and what If-Match and If-None-Match ask for."""

import re
from dataclasses import dataclass

from starlette.datastructures import Headers

from hubblewave_pipelines.core.errors import (
    Fault,
    MalformedRequest,
    PreconditionRequired,
)

_TAG = re.compile(r'\s*(W/)?"([\x21\x23-\x7e\x80-\xff]*)"\s*(?:,|\Z)')
_VERSION = re.compile(r"[0-9]{1,18}")


def etag(version: int | str) -> str:
    return f'"{version}"'


@dataclass(frozen=True, slots=True)
class Tags:
    """The entity tags a header names: any (`*`), or the texts of those it lists."""

    any: bool
    strong: frozenset[str]
    weak: frozenset[str]


def _tags(headers: Headers, name: str) -> Tags | None:
    text = ",".join(headers.getlist(name))
    if not text:
        return None
    if text.strip() == "*":
        return Tags(any=True, strong=frozenset(), weak=frozenset())
    strong, weak, at = set[str](), set[str](), 0
    while at < len(text):
        match = _TAG.match(text, at)
        if match is None:
            detail = f'{name} must be * or a list of ETags like "3"'
            raise MalformedRequest(f"{detail}.", faults=[Fault("format", detail, parameter=name)])
        (weak if match[1] else strong).add(match[2])
        at = match.end()
    return Tags(any=False, strong=frozenset(strong), weak=frozenset(weak))


def required_tags(headers: Headers) -> frozenset[str] | None:
    """The tags at which If-Match lets a write happen; None when every one will do.

    Weak tags never match a write (RFC 9110 section 13.1.1). Raises MalformedRequest.
    """
    tags = _tags(headers, "if-match")
    return None if tags is None or tags.any else tags.strong


def required_versions(headers: Headers, *, needed: bool = False) -> frozenset[int] | None:
    """As `required_tags`, of a record, whose tags are its versions.

    Raises PreconditionRequired when there is no If-Match and one is `needed`.
    """
    if needed and "if-match" not in headers:
        raise PreconditionRequired(
            "Say which version you change: send the record's ETag as If-Match (or * for any)."
        )
    tags = required_tags(headers)
    return None if tags is None else frozenset(int(t) for t in tags if _VERSION.fullmatch(t))


def only_if_absent(headers: Headers) -> bool:
    """Whether If-None-Match asks that the record must not exist yet."""
    tags = _tags(headers, "if-none-match")
    if tags is not None and not tags.any:
        raise MalformedRequest("A write understands only If-None-Match: *.")
    return tags is not None


def is_known(headers: Headers, version: int | str) -> bool:
    """Whether the reader already has this version (If-None-Match on a read)."""
    tags = _tags(headers, "if-none-match")
    return tags is not None and (tags.any or str(version) in tags.strong | tags.weak)

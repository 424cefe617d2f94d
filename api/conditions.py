"""Conditional requests: a record's ETag, and what If-Match and If-None-Match ask for."""

import re
from dataclasses import dataclass

from starlette.datastructures import Headers

from hubblewave_pipelines.core.errors import Fault, MalformedRequest

_TAG = re.compile(r'\s*(W/)?"([\x21\x23-\x7e\x80-\xff]*)"\s*(?:,|\Z)')
_VERSION = re.compile(r"[0-9]{1,18}")


def etag(version: int) -> str:
    return f'"{version}"'


@dataclass(frozen=True, slots=True)
class Tags:
    """The entity tags a header names: any (`*`), or the versions among them."""

    any: bool
    strong: frozenset[int]
    weak: frozenset[int]


def _tags(headers: Headers, name: str) -> Tags | None:
    text = ",".join(headers.getlist(name))
    if not text:
        return None
    if text.strip() == "*":
        return Tags(any=True, strong=frozenset(), weak=frozenset())
    strong, weak, at = set[int](), set[int](), 0
    while at < len(text):
        match = _TAG.match(text, at)
        if match is None:
            detail = f'{name} must be * or a list of ETags like "3"'
            raise MalformedRequest(f"{detail}.", faults=[Fault("format", detail, parameter=name)])
        if _VERSION.fullmatch(match[2]):
            (weak if match[1] else strong).add(int(match[2]))
        at = match.end()
    return Tags(any=False, strong=frozenset(strong), weak=frozenset(weak))


def required_versions(headers: Headers) -> frozenset[int] | None:
    """The versions at which If-Match lets a write happen; None when every one will do.

    Weak tags never match a write (RFC 9110 section 13.1.1). Raises MalformedRequest.
    """
    tags = _tags(headers, "if-match")
    return None if tags is None or tags.any else tags.strong


def only_if_absent(headers: Headers) -> bool:
    """Whether If-None-Match asks that the record must not exist yet."""
    tags = _tags(headers, "if-none-match")
    if tags is not None and not tags.any:
        raise MalformedRequest("A write understands only If-None-Match: *.")
    return tags is not None


def is_known(headers: Headers, version: int) -> bool:
    """Whether the reader already has this version (If-None-Match on a read)."""
    tags = _tags(headers, "if-none-match")
    return tags is not None and (tags.any or version in tags.strong | tags.weak)

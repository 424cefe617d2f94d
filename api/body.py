"""JSON bodies: read strictly (every fault with its place), written by msgspec."""

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from hubblewave_pipelines.core.entity import Json
from hubblewave_pipelines.core.errors import (
    Fault,
    Invalid,
    MalformedRequest,
    NotAcceptable,
    UnsupportedMedia,
)

MAX_DEPTH = 64
JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"

_UNSAFE = re.compile("[\x00\ud800-\udfff]")


_CONTAINERS = (dict, list)


class _Duplicated(dict[str, Any]):
    """An object in which a key came twice; carries the key to the walk that finds its place."""

    def __init__(self, pairs: list[tuple[str, Any]], key: str) -> None:
        super().__init__(pairs)
        self.key = key


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            return _Duplicated(pairs, key)
        seen.add(key)
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def step(pointer: str, key: str | int) -> str:
    """The JSON pointer (URI fragment) of a member of the value at `pointer`."""
    return f"{pointer}/{str(key).replace('~', '~0').replace('/', '~1')}"


def _text_faults(text: str, pointer: str) -> Iterator[Fault]:
    match = _UNSAFE.search(text)
    if match is None:
        return
    if match[0] == "\x00":
        yield Fault("nul", "contains a NUL character, which text cannot hold", pointer)
    else:
        yield Fault("encoding", "contains half of a surrogate pair", pointer)


def _faults(value: Json, pointer: str, depth: int) -> Iterator[Fault]:
    if isinstance(value, str):
        yield from _text_faults(value, pointer)
    elif isinstance(value, dict | list):
        if depth >= MAX_DEPTH:
            yield Fault("depth", f"is nested more than {MAX_DEPTH} levels deep", pointer[:200])
            return
        if isinstance(value, _Duplicated):
            yield Fault("duplicate", "the same name comes twice", step(pointer, value.key))
        members = enumerate(value) if isinstance(value, list) else value.items()
        for key, item in members:
            if isinstance(key, str) and _UNSAFE.search(key):
                yield Fault("name", "a name contains NUL or half of a surrogate pair", pointer)
            elif isinstance(item, str | dict | list):
                yield from _faults(item, step(pointer, key), depth + 1)


def _plain(value: Json, depth: int) -> bool:
    """Whether nothing is nested too deep and no name came twice: a quick look before the long walk."""
    if type(value) is _Duplicated or depth >= MAX_DEPTH:
        return False
    members = value if type(value) is list else value.values()
    return all(_plain(item, depth + 1) for item in members if isinstance(item, _CONTAINERS))


def parse(text: bytes) -> Json:
    """The JSON value of a body.

    Raises MalformedRequest when it is not JSON, repeats a name or is nested too deep, and Invalid
    for characters that cannot be stored; each with its place.
    """
    try:
        decoded = text.decode()
    except UnicodeDecodeError as error:
        raise MalformedRequest(f"The body is not UTF-8: byte {error.start} is wrong.") from error
    try:
        value = json.loads(decoded, object_pairs_hook=_object, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise MalformedRequest(
            f"The body is not JSON: {error.msg} at line {error.lineno} column {error.colno}."
        ) from error
    except ValueError as error:
        raise MalformedRequest(f"The body is not JSON: {error}.") from error
    except RecursionError as error:
        raise MalformedRequest(f"The body is nested more than {MAX_DEPTH} levels deep.") from error
    # What cannot be stored can only come as an escape: JSON allows no NUL, and UTF-8 no surrogate.
    if "\\u" not in decoded and (not isinstance(value, _CONTAINERS) or _plain(value, 0)):
        return value
    faults = list(_faults(value, "#", 0))
    if any(fault.code != "nul" for fault in faults):
        raise MalformedRequest("The body cannot be read.", faults=faults)
    if faults:
        raise Invalid("The body holds characters that cannot be stored.", faults=faults)
    return value


def require_media(request: Request, *allowed: str) -> None:
    """Raises UnsupportedMedia unless the body's Content-Type is one of `allowed`."""
    given = request.headers.get("content-type", "")
    media, _, parameters = given.partition(";")
    charset = parameters.lower().replace(" ", "").replace('"', "")
    if media.strip().lower() not in allowed or charset not in ("", "charset=utf-8"):
        said = f"not {given}" if given else "and the request names none"
        raise UnsupportedMedia(f"The Content-Type must be {' or '.join(allowed)}, {said}.")


def require_accept(request: Request) -> None:
    """Raises NotAcceptable when the Accept header rules out application/json."""
    given = request.headers.get("accept")
    if given is None or "*/*" in given or JSON in given:
        return
    ranges = [part.partition(";")[0].strip().lower() for part in given.split(",")]
    if not any(found in (JSON, "application/*") for found in ranges):
        raise NotAcceptable(f"Answers here are {JSON}.")


async def read_json(request: Request, *media: str) -> Json:
    """The request's JSON body; application/json unless other media types are named.

    Raises UnsupportedMedia, TooLarge, MalformedRequest and Invalid as `parse` does.
    """
    require_media(request, *(media or (JSON,)))
    return parse(await request.body())


class JsonAnswer(Response):
    """A response of plain data (datetimes, UUIDs and decimals included)."""

    media_type = JSON

    def render(self, content: Any) -> bytes:
        return msgspec.json.encode(content)

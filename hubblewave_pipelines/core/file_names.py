"""File names as people see them: never used as a path."""

import re
from urllib.parse import quote

_LENGTH = 255
_UNSHOWABLE = re.compile(r"[\x00-\x1f\x7f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_PLAIN = re.compile(r"[A-Za-z0-9!#$&+.^_`|~ -]+")


def shown_name(given: str, *, default: str) -> str:
    """The last part of a client's file name, fit to be shown."""
    last = re.split(r"[\\/]", given)[-1]
    return _UNSHOWABLE.sub("", last).strip()[-_LENGTH:].strip(". ") or default


def content_disposition(name: str) -> str:
    """The header of RFC 6266 for a download: the name in ASCII, and whole where that is not it."""
    if _PLAIN.fullmatch(name):
        return f'attachment; filename="{name}"'
    ascii_name = re.sub(r'[^ -~]|["\\%]', "_", name)
    return f"attachment; filename=\"{ascii_name}\"; filename*=UTF-8''{quote(name, safe='')}"

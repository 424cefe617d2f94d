"""Prefer (RFC 7240): whether the answer to a write shows the record or only says that it was made."""

from typing import Literal, TypeAlias

from starlette.datastructures import Headers

Return: TypeAlias = Literal["minimal", "representation"]


def preferred_return(headers: Headers) -> Return | None:
    """What the Prefer header asks for; None when nothing that is known here. The first one counts."""
    for part in ",".join(headers.getlist("prefer")).split(","):
        name, _, value = part.partition(";")[0].partition("=")
        if name.strip().lower() == "return":
            wanted = value.strip().strip('"').lower()
            if wanted == "minimal":
                return "minimal"
            if wanted == "representation":
                return "representation"
    return None

"""Reading a JSON object key by key, collecting every fault with its pointer instead of stopping."""

import difflib
import re
from collections.abc import Collection, Iterator

from hubblewave_pipelines.core.entity import Json
from hubblewave_pipelines.core.errors import Fault

NAME = re.compile(r"[A-Za-z][A-Za-z0-9]{0,62}")


def below(pointer: str, key: str | int) -> str:
    """The pointer of `key` inside what `pointer` points at (RFC 6901 escaping)."""
    return f"{pointer}/{str(key).replace('~', '~0').replace('/', '~1')}"


def storable(text: str) -> bool:
    """Whether PostgreSQL can hold the text: no NUL, no half surrogate pair."""
    return "\x00" not in text and not any("\ud800" <= c <= "\udfff" for c in text)


def suggestion(word: str, known: Collection[str]) -> str:
    """`; did you mean "x"?` for the nearest known word, else the empty string."""
    by_case = {k.lower(): k for k in known}
    near = difflib.get_close_matches(word.lower(), by_case, n=1)
    return f'; did you mean "{by_case[near[0]]}"?' if near else ""


class Reading:
    """Faults found so far. A reader returns a harmless value where it finds a fault, so that the
    rest of the body is read too; what was read counts only when `faults` stays empty."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []

    def fault(self, pointer: str, code: str, detail: str) -> None:
        self.faults.append(Fault(code, detail, pointer))

    def keys(self, body: dict[str, Json], known: Collection[str], pointer: str) -> None:
        """A fault for each key that is not known, with the nearest one that is."""
        for key in body:
            if key not in known:
                shown = key if len(key) <= 60 else key[:57] + "..."
                hint = suggestion(shown, known) or f"; known are {', '.join(sorted(known))}"
                self.fault(below(pointer, key), "unknown", f'there is no "{shown}" here{hint}')

    def name(self, body: dict[str, Json], key: str, pointer: str) -> str:
        value = body.get(key)
        at = below(pointer, key)
        if value is None:
            self.fault(at, "required", f"{key} is required")
        elif not isinstance(value, str):
            self.fault(at, "type", f"{key} must be a string")
        elif NAME.fullmatch(value) is None:
            self.fault(
                at,
                "format",
                f"{key} must start with a letter A-Z or a-z and hold at most 63 letters and digits",
            )
        else:
            return value
        return ""

    def text(self, body: dict[str, Json], key: str, pointer: str, *, longest: int) -> str | None:
        value = body.get(key)
        at = below(pointer, key)
        if value is None:
            return None
        if not isinstance(value, str):
            self.fault(at, "type", f"{key} must be a string")
        elif len(value) > longest:
            self.fault(at, "length", f"{key} is {len(value)} characters long; at most {longest}")
        elif not storable(value):
            self.fault(at, "nul", f"{key} contains a NUL or half of a surrogate pair")
        else:
            return value
        return None

    def flag(self, body: dict[str, Json], key: str, pointer: str) -> bool:
        value = body.get(key)
        if value is not None and not isinstance(value, bool):
            self.fault(below(pointer, key), "type", f"{key} must be true or false")
        return value is True

    def whole(
        self, body: dict[str, Json], key: str, pointer: str, *, least: int, most: int
    ) -> int | None:
        value = body.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            self.fault(below(pointer, key), "type", f"{key} must be a whole number")
        elif not least <= value <= most:
            self.fault(below(pointer, key), "range", f"{key} must be from {least} to {most}")
        else:
            return value
        return None

    def choice(
        self,
        body: dict[str, Json],
        key: str,
        pointer: str,
        choices: Collection[str],
        hint: str = "",
    ) -> str | None:
        """One of `choices`, or None with a fault. The key must be present."""
        value = body.get(key)
        at = below(pointer, key)
        if value is None:
            self.fault(at, "required", f"{key} is required: one of {', '.join(choices)}")
        elif not isinstance(value, str) or value not in choices:
            shown = f'"{value[:60]}"' if isinstance(value, str) else "this"
            near = hint or (suggestion(value, choices) if isinstance(value, str) else "")
            self.fault(at, "enum", f"{shown} is not one of {', '.join(choices)}{near}")
        else:
            return value
        return None

    def objects(
        self, body: dict[str, Json], key: str, pointer: str, *, most: int
    ) -> Iterator[tuple[dict[str, Json], str]]:
        """The objects of a list (absent: none), each with its pointer."""
        value = body.get(key)
        at = below(pointer, key)
        if value is None:
            return
        if not isinstance(value, list):
            self.fault(at, "type", f"{key} must be a list")
            return
        if len(value) > most:
            self.fault(at, "length", f"{key} has {len(value)} items; at most {most}")
            return
        for index, item in enumerate(value):
            if isinstance(item, dict):
                yield item, below(at, index)
            else:
                self.fault(below(at, index), "type", "each item must be an object")

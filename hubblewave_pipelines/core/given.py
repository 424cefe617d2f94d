"""The parameters of one request, from its address or its body, and what is wrong with them."""

import re
from collections.abc import Callable, Iterable
from typing import TypeVar

from hubblewave_pipelines.core.entity import Json
from hubblewave_pipelines.core.errors import Fault, MalformedRequest
from hubblewave_pipelines.core.filters import hint
from hubblewave_pipelines.core.values import Refused

T = TypeVar("T")

_WHOLE = re.compile(r"[0-9]{1,9}")


class Given:
    """Parameters read one by one; `done` raises with every fault found on the way."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.filters: dict[str, list[str]] = {}
        self.measures: dict[str, list[str]] = {}
        self.single: dict[str, Json] = {}  # text, or what a body holds
        self._body = False

    @classmethod
    def of_address(cls, given: Iterable[tuple[str, str]]) -> "Given":
        found = cls()
        for name, value in given:
            if name.startswith("filter["):
                found.filters.setdefault(name, []).append(value)
            elif name.startswith("aggregate["):
                found.measures.setdefault(name, []).append(value)
            elif name in found.single:
                found.fault(name, "duplicate", "is given twice")
            else:
                found.single[name] = value
        return found

    @classmethod
    def of_body(cls, body: Json) -> "Given":
        """The members of a JSON body. Raises MalformedRequest unless it is an object."""
        found = cls()
        found._body = True
        if not isinstance(body, dict):
            raise MalformedRequest(
                "The body must be a JSON object.", faults=[Fault("type", "expected an object", "#")]
            )
        found.single.update({name: value for name, value in body.items() if value is not None})
        return found

    def fault(self, name: str, code: str, detail: str) -> None:
        if self._body:
            pointer = "#/" + name.replace("~", "~0").replace("/", "~1")
            self.faults.append(Fault(code, detail, pointer))
        else:
            self.faults.append(Fault(code, detail, parameter=name))

    def only(
        self, known: tuple[str, ...], *, filters: bool = False, measures: bool = False
    ) -> None:
        """Faults for every parameter that is not known here."""
        for name in self.single:
            if name not in known:
                self.fault(name, "unknown", f"is not a parameter here{hint(name[:60], known)}")
        for name in () if filters else self.filters:
            self.fault(name, "unknown", "this list has no filters")
        for name in () if measures else self.measures:
            self.fault(name, "unknown", "is for the path .../aggregate")

    def text(self, name: str) -> str | None:
        """A parameter that is text; a body may give a list of texts, which are joined by commas."""
        value = self.single.get(name)
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            value = ",".join(value)
        if value is None or isinstance(value, str):
            return value
        self.fault(name, "type", "must be a string")
        return None

    def whole(self, name: str, default: int, most: int) -> int:
        """A whole number from 1 to `most`."""
        value = self.single.get(name)
        if value is None:
            return default
        if self._body and isinstance(value, int) and not isinstance(value, bool):
            number = value if 1 <= value <= most else 0
        else:
            number = int(value) if isinstance(value, str) and _WHOLE.fullmatch(value) else 0
        if not 1 <= number <= most:
            self.fault(name, "range", f"must be a whole number from 1 to {most}")
            return default
        return number

    def read(self, name: str, read: Callable[[], T]) -> T | None:
        """What `read` returns; a refusal becomes a fault of this parameter."""
        try:
            return read()
        except Refused as refused:
            self.fault(name, refused.code, refused.detail)
            return None

    def done(self) -> None:
        """Raises MalformedRequest when there are faults."""
        if self.faults:
            named = "; ".join(f"{f.parameter or f.pointer}: {f.detail}" for f in self.faults[:3])
            raise MalformedRequest(f"{named}.", faults=self.faults)

"""SQL text being written together with its parameters."""

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Sql:
    """SQL text being written, with its parameters in order of appearance."""

    parts: list[str] = field(default_factory=list)
    params: list[object] = field(default_factory=list)

    def add(self, text: str, *params: object) -> "Sql":
        self.parts.append(text)
        self.params.extend(params)
        return self

    def append(self, other: "Sql") -> "Sql":
        return self.add(other.text, *other.params)

    @property
    def text(self) -> str:
        return "".join(self.parts)


def joined(word: str, parts: Iterable[Sql]) -> Sql:
    """The parts with `word` between them."""
    found = Sql()
    for index, part in enumerate(parts):
        found.add(word if index else "").append(part)
    return found

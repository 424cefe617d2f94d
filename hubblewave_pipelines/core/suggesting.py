"""Which column of a file may fill which field, and how sure that is."""

import difflib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from hubblewave_pipelines.core.entity import Entity
from hubblewave_pipelines.core.mapping import targets_of
from hubblewave_pipelines.core.values import squeezed

_LEAST = 0.6  # below it a suggestion is noise
_WORTH_COMPARING = 500  # columns; comparing names letter by letter costs their product


@dataclass(frozen=True, slots=True)
class Suggestion:
    """`confidence` is 1 for the same name (case, spaces, `_`, `-` aside), less the more it differs."""

    source: str
    target: str
    confidence: float


def _bare(name: str) -> str:
    """Letters and digits only, without accents."""
    plain = unicodedata.normalize("NFKD", name)
    return re.sub(r"[^a-z0-9]", "", plain.casefold())


def suggestions(entity: Entity, header: Sequence[str]) -> list[Suggestion]:
    """At most one column for each field and one field for each column, the surest first."""
    names = {target: target for target in targets_of(entity)}
    for reference, relation in entity.references.items():
        names.setdefault(relation.name, reference)
    found: list[Suggestion] = []
    for column in header[:_WORTH_COMPARING]:
        for name, target in names.items():
            confidence = _alike(column, name)
            if confidence >= _LEAST:
                found.append(Suggestion(column, target, confidence))
    chosen: list[Suggestion] = []
    sources: set[str] = set()
    targets: set[str] = set()
    for one in sorted(found, key=lambda s: -s.confidence):
        if one.source not in sources and one.target not in targets:
            chosen.append(one)
            sources.add(one.source)
            targets.add(one.target)
    return chosen


def _alike(column: str, name: str) -> float:
    if squeezed(column) == squeezed(name):
        return 1.0
    a, b = _bare(column), _bare(name)
    if not a or not b:
        return 0.0
    if a == b:
        return 0.95
    shorter, longer = sorted((a, b), key=len)
    if len(shorter) >= 4 and (longer.endswith(shorter) or longer.startswith(shorter)):
        return 0.75  # "customerName" for "name", "E-mail address" for "email"
    ratio = difflib.SequenceMatcher(None, a, b).ratio()
    return round(0.9 * ratio, 2) if ratio >= 0.75 else 0.0

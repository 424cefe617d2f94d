"""What a GraphQL document may be like before anything is done with it: counted on its syntax tree.

Fragments are counted where they are spread, so that what a document means is bounded, not only what
it looks like. Every count is made once per fragment.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
)

from hubblewave_pipelines.core.errors import QueryTooLarge

TOKENS, CHARACTERS, ALIASES, ROOT_FIELDS = 5_000, 200_000, 50, 20
OPERATIONS, FRAGMENTS = 50, 100
# The same field again and again costs validation the square of its number.
REPEATED = 120
_INTROSPECTION = ("__schema", "__type")  # bounded by a rule of its own: see `documents`


@dataclass
class _Extent:
    """How much a selection is: levels, aliases, and how often each field is named."""

    depth: int = 0
    aliases: int = 0
    names: Counter[str] = field(default_factory=Counter)

    def add(self, other: "_Extent", *, deeper: int = 0) -> None:
        self.depth = max(self.depth, other.depth + deeper)
        self.aliases = min(self.aliases + other.aliases, 10**9)  # doubling fragments double it
        for name, times in other.names.items():
            self.names[name] = min(self.names[name] + times, 10**9)


class _Counting:
    def __init__(self, document: DocumentNode) -> None:
        self._fragments: Mapping[str, FragmentDefinitionNode] = {
            found.name.value: found
            for found in document.definitions
            if isinstance(found, FragmentDefinitionNode)
        }
        self._known: dict[str, _Extent] = {}

    def of(self, selections: SelectionSetNode | None) -> _Extent:
        found = _Extent()
        for node in selections.selections if selections is not None else ():
            if isinstance(node, FieldNode):
                found.names[node.name.value] += 1
                found.aliases += node.alias is not None
                inner = self.of(node.selection_set)
                if node.name.value in _INTROSPECTION:
                    inner.depth = 0
                found.add(inner, deeper=1)
            elif isinstance(node, InlineFragmentNode):
                found.add(self.of(node.selection_set))
            elif isinstance(node, FragmentSpreadNode):
                found.add(self._spread(node.name.value))
        return found

    def _spread(self, name: str) -> _Extent:
        known = self._known.get(name)
        if known is None:
            fragment = self._fragments.get(name)
            self._known[name] = _Extent()  # what a circle adds: validation refuses it
            known = self.of(None if fragment is None else fragment.selection_set)
            self._known[name] = known
        return known

    def roots(self, selections: SelectionSetNode, seen: frozenset[str] = frozenset()) -> int:
        number = 0
        for node in selections.selections:
            if isinstance(node, FieldNode):
                number += 1
            elif isinstance(node, InlineFragmentNode):
                number += self.roots(node.selection_set, seen)
            elif isinstance(node, FragmentSpreadNode) and node.name.value not in seen:
                fragment = self._fragments.get(node.name.value)
                if fragment is not None:
                    inner = seen | {node.name.value}
                    number += self.roots(fragment.selection_set, inner)
            if number > ROOT_FIELDS:
                break
        return number


def refuse_larger(document: DocumentNode, *, max_depth: int) -> None:
    """Raises QueryTooLarge for a document beyond a limit, naming it."""
    operations = [d for d in document.definitions if isinstance(d, OperationDefinitionNode)]
    fragments = sum(isinstance(d, FragmentDefinitionNode) for d in document.definitions)
    _refuse(len(operations), OPERATIONS, "operations")
    _refuse(fragments, FRAGMENTS, "fragments")
    counting = _Counting(document)
    for operation in operations:
        found = counting.of(operation.selection_set)
        _refuse(found.depth, max_depth, "levels of fields")
        _refuse(found.aliases, ALIASES, "aliases")
        _refuse(counting.roots(operation.selection_set), ROOT_FIELDS, "root fields")
        repeated = max(found.names.values(), default=0)
        _refuse(repeated, REPEATED, "fields of one name")


def _refuse(found: int, most: int, what: str) -> None:
    if found > most:
        raise QueryTooLarge(f"The document has more than {most:,} {what}.")

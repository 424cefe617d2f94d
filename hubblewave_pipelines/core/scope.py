"""What a credential is good for: its scopes, and the plan that bounds how often it is used."""

from collections.abc import Collection, Mapping
from typing import Literal, TypeAlias

Scope: TypeAlias = Literal["read", "write", "admin"]

SCOPES: tuple[Scope, ...] = ("read", "write", "admin")  # each includes those before it
PLANS = ("free", "professional", "enterprise")  # each allows more than those before it

# Whoever may write sees what was written, so write alone would be no less than both.
_GRANTED_BY: Mapping[Scope, frozenset[str]] = {
    "read": frozenset({"read", "write", "admin"}),
    "write": frozenset({"write", "admin"}),
    "admin": frozenset({"admin"}),
}


def permits(held: Collection[str], needed: Scope) -> bool:
    """Whether a credential that holds these scopes may do what needs `needed`."""
    return not _GRANTED_BY[needed].isdisjoint(held)

"""Cursors in the answer of a shape: the sort values that SQL wrote there, sealed for the caller."""

from collections.abc import Sequence

import msgspec

from hubblewave_pipelines.core.cursor import Seal
from hubblewave_pipelines.core.shapes import (
    CURSORS,
    Constant,
    Edges,
    Info,
    Items,
    Listing,
    Member,
    Node,
    One,
    Place,
    Told,
    facts_of,
    records_of,
    shows_places,
)

Raw = msgspec.Raw
_object = msgspec.json.Decoder(dict[str, Raw])
_list = msgspec.json.Decoder(list[Raw])
_values = msgspec.json.Decoder(list[str | None] | None)
_write = msgspec.json.encode


def has_cursors(members: Sequence[Member]) -> bool:
    """Whether an answer with these members holds a cursor somewhere."""
    for member in members:
        if isinstance(member, One) and has_cursors(member.members):
            return True
        if isinstance(member, Listing) and (
            shows_places(member)
            or facts_of(member) & CURSORS
            or any(has_cursors(inner) for inner in records_of(member))
        ):
            return True
    return False


def sealed(text: str, members: Sequence[Member], secret: bytes) -> str:
    """The JSON text of an answer with every cursor in it sealed by the tenant's secret."""
    return _record(text.encode(), members, secret).decode()


def _record(raw: bytes | Raw, members: Sequence[Member], secret: bytes) -> bytes:
    """Only what leads to a cursor is taken apart; numbers stay as PostgreSQL wrote them."""
    found = _object.decode(raw)
    for member in members:
        if isinstance(member, One) and has_cursors(member.members):
            if bytes(found[member.name]) != b"null":
                found[member.name] = Raw(_record(found[member.name], member.members, secret))
        elif isinstance(member, Listing) and has_cursors([member]):
            found[member.name] = Raw(_listing(found[member.name], member, secret))
    return _write(found)


def _listing(raw: Raw, listing: Listing, secret: bytes) -> bytes:
    seal = Seal(secret, listing.query)
    if listing.bare:
        [part] = listing.parts
        return _records(raw, part.members, secret) if isinstance(part, Items) else bytes(raw)
    found = _object.decode(raw)
    for part in listing.parts:
        inside = found[part.name]
        if isinstance(part, Items):
            found[part.name] = Raw(_records(inside, part.members, secret))
        elif isinstance(part, Edges):
            edges = [Raw(_edge(edge, part, seal, secret)) for edge in _list.decode(inside)]
            found[part.name] = Raw(_write(edges))
        elif isinstance(part, Info):
            found[part.name] = Raw(_facts(inside, part.facts, seal))
    told = tuple(part for part in listing.parts if isinstance(part, Told))
    return _facts(Raw(_write(found)), told, seal)


def _records(raw: Raw, members: Sequence[Member], secret: bytes) -> bytes:
    if not has_cursors(members):
        return bytes(raw)
    return _write([Raw(_record(record, members, secret)) for record in _list.decode(raw)])


def _edge(raw: Raw, edges: Edges, seal: Seal, secret: bytes) -> bytes:
    found = _object.decode(raw)
    for part in edges.parts:
        if isinstance(part, Place):
            found[part.name] = _cursor(found[part.name], seal)
        elif isinstance(part, Node) and has_cursors(part.members):
            found[part.name] = Raw(_record(found[part.name], part.members, secret))
    return _write(found)


def _facts(raw: Raw, facts: Sequence[Told | Constant], seal: Seal) -> bytes:
    found = _object.decode(raw)
    for told in facts:
        if isinstance(told, Told) and told.fact in CURSORS:
            found[told.name] = _cursor(found[told.name], seal)
    return _write(found)


def _cursor(raw: Raw, seal: Seal) -> Raw:
    values = _values.decode(raw)
    return Raw(b"null") if values is None else Raw(_write(seal.cursor(values)))

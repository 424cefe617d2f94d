"""What a document asks about the schema itself -> JSON, written straight from the schema's parts.

The library would walk three million fields one by one for a tenant of 1,000 entities. Here a
selection is compiled once for each type it is about, and what looks the same is written once.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    GraphQLField,
    GraphQLLeafType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    SchemaMetaFieldDef,
    TypeMetaFieldDef,
)
from graphql.execution.collect_fields import collect_sub_fields
from graphql.execution.values import get_argument_values

from hubblewave_pipelines.core.errors import QueryTooLarge

MOST_BYTES, MOST_SECONDS = 200_000_000, 30.0  # of processor time
_SHORT = 2_000  # bytes of a part that is remembered: types are named again and again
_OFTEN = 2_000  # parts between looks at the clock
_META = {"__schema": SchemaMetaFieldDef, "__type": TypeMetaFieldDef}

_Write = Callable[[Any], bytes]
_encode = msgspec.json.encode


class _Info(NamedTuple):
    """What the library's resolvers read of their second argument."""

    schema: GraphQLSchema


class _Writer:
    """One answer being written. The parts of the schema must outlive it: they are known by `id`."""

    def __init__(
        self,
        schema: GraphQLSchema,
        fragments: Mapping[str, FragmentDefinitionNode],
        variables: dict[str, Any],
    ) -> None:
        self._schema, self._fragments, self._variables = schema, dict(fragments), variables
        self._info = _Info(schema)
        self._parts, self._until = 0, time.thread_time() + MOST_SECONDS

    def root(self, nodes: list[FieldNode]) -> bytes:
        """The value of a root field. Raises QueryTooLarge."""
        field = _META[nodes[0].name.value]
        assert field.resolve is not None
        arguments = get_argument_values(field, nodes[0], self._variables)
        value = field.resolve(None, self._info, **arguments)
        return self._of(field.type, nodes)(value)

    def _of(self, kind: Any, nodes: list[FieldNode]) -> _Write:
        """How values of a type are written."""
        if isinstance(kind, GraphQLNonNull):
            return self._of(kind.of_type, nodes)
        if isinstance(kind, GraphQLList):
            return self._list(self._of(kind.of_type, nodes))
        if isinstance(kind, GraphQLObjectType):
            return self._object(kind, nodes)
        return _leaf(kind)

    def _list(self, write: _Write) -> _Write:
        def written(values: Any) -> bytes:
            if values is None:
                return b"null"
            found, size = [], 0
            for value in values:
                one = write(value)
                size += len(one)
                if size > MOST_BYTES:
                    raise QueryTooLarge("The answer about the schema is too large: ask for less.")
                found.append(one)
            return b"[%s]" % b",".join(found)

        return written

    def _object(self, kind: GraphQLObjectType, nodes: list[FieldNode]) -> _Write:
        selected = collect_sub_fields(self._schema, self._fragments, self._variables, kind, nodes)
        members = [
            (b"%s%s:" % (b"," if place else b"{", _encode(key)), self._member(kind, inner))
            for place, (key, inner) in enumerate(selected.items())
        ]
        known: dict[Any, tuple[Any, bytes]] = {}

        def written(value: Any) -> bytes:
            if value is None:
                return b"null"
            # Fields and arguments are pairs of a name and what is shared by all of that kind.
            key = (value[0], id(value[1])) if isinstance(value, tuple) else id(value)
            found = known.get(key)
            if found is not None:
                return found[1]
            self._parts += 1
            if self._parts % _OFTEN == 0 and time.thread_time() > self._until:
                raise QueryTooLarge("The answer about the schema takes too long: ask for less.")
            text = b"%s}" % b"".join([name + write(value) for name, write in members])
            if len(text) <= _SHORT:
                known[key] = (value, text)
            return text

        return written

    def _member(self, kind: GraphQLObjectType, nodes: list[FieldNode]) -> _Write:
        name = nodes[0].name.value
        if name == "__typename":
            constant = _encode(kind.name)
            return lambda _: constant
        field: GraphQLField = kind.fields[name]
        resolve, info = field.resolve, self._info
        assert resolve is not None
        arguments = get_argument_values(field, nodes[0], self._variables)
        # A type names its own kind again; below what it is not, nothing has to be compiled.
        write: _Write | None = None

        def written(value: Any) -> bytes:
            nonlocal write
            found = resolve(value, info, **arguments)
            if found is None:
                return b"null"
            if write is None:
                write = self._of(field.type, nodes)
            return write(found)

        return written


def _leaf(kind: GraphQLLeafType) -> _Write:
    serialize = kind.serialize
    return lambda value: _encode(serialize(value))


def introspected(
    schema: GraphQLSchema,
    fragments: Mapping[str, FragmentDefinitionNode],
    variables: dict[str, Any],
    asked: Mapping[str, Sequence[FieldNode]],
) -> dict[str, bytes]:
    """The JSON of each root field about the schema, by the name under which it is answered.

    Makes every part of the schema that is asked for. Raises QueryTooLarge beyond MOST_BYTES or
    MOST_SECONDS.
    """
    writer = _Writer(schema, fragments, variables)
    return {key: writer.root(list(nodes)) for key, nodes in asked.items()}

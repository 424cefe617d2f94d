"""The text of a GraphQL document -> one operation that fits the tenant's schema, or every reason why not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from graphql import (
    DocumentNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLSyntaxError,
    KnownTypeNamesRule,
    NoSchemaIntrospectionCustomRule,
    OperationDefinitionNode,
    OperationType,
    ValidationContext,
    parse,
    specified_rules,
    validate,
)
from graphql.execution.values import get_variable_values
from graphql.validation import ASTValidationRule, MaxIntrospectionDepthRule

from api.graphql.bounds import CHARACTERS, TOKENS, refuse_larger
from api.graphql.schema import TenantSchema
from api.kept import Kept
from hubblewave_pipelines.core.entity import Json
from hubblewave_pipelines.core.errors import (
    MalformedRequest,
    QueryInvalid,
    QuerySyntax,
    QueryTooLarge,
)


class _KnownTypeNames(KnownTypeNamesRule):
    """The library's rule, which lists every type of the schema before it looks at a document."""

    def __init__(self, context: ValidationContext) -> None:
        ASTValidationRule.__init__(self, context)
        self.existing_types_map = context.schema.type_map
        self.defined_types: set[str] = set()  # documents that define types are refused elsewhere

    @cached_property
    def type_names(self) -> list[str]:  # type: ignore[override]
        return list(self.existing_types_map)


_MOST_ERRORS = 20
_LIBRARY = (_KnownTypeNames if rule is KnownTypeNamesRule else rule for rule in specified_rules)
_OPEN = (*_LIBRARY, MaxIntrospectionDepthRule)
_CLOSED = (*_OPEN, NoSchemaIntrospectionCustomRule)


@dataclass(frozen=True, slots=True)
class Rules:
    """What this process lets documents do."""

    introspection: bool
    max_depth: int
    max_cost: int


@dataclass(frozen=True)
class Operation:
    """A validated operation with the fragments of its document."""

    schema: TenantSchema
    definition: OperationDefinitionNode
    fragments: dict[str, FragmentDefinitionNode]
    rules: Rules

    @property
    def kind(self) -> OperationType:
        return self.definition.operation

    def variables(self, given: Mapping[str, Json]) -> dict[str, Any]:
        """The values of the operation's variables. Raises QueryInvalid naming every bad one."""
        try:
            coerced = get_variable_values(
                self.schema.graphql,
                self.definition.variable_definitions or (),
                dict(given),
                max_errors=_MOST_ERRORS,
                hide_suggestions=not self.rules.introspection,
            )
        except RecursionError as error:
            raise QueryInvalid("The variables are nested too deep.") from error
        if isinstance(coerced, list):
            raise invalid(coerced)
        return coerced


def invalid(errors: Sequence[GraphQLError]) -> QueryInvalid:
    """One refusal for all errors; it carries them as GraphQL writes them."""
    return QueryInvalid(errors[0].message, located=[dict(error.formatted) for error in errors])


def parsed(text: str) -> DocumentNode:
    """Raises QuerySyntax and QueryTooLarge."""
    if len(text) > CHARACTERS:
        raise QueryTooLarge(f"The document has more than {CHARACTERS:,} characters.")
    try:
        return parse(text, max_tokens=TOKENS)
    except GraphQLSyntaxError as error:
        if f"more than {TOKENS} tokens" in error.message:
            raise QueryTooLarge(f"The document has more than {TOKENS:,} tokens.") from error
        if "nested too deeply" in error.message:
            raise QueryTooLarge("The document is nested too deep.") from error
        raise QuerySyntax(error.message, located=[dict(error.formatted)]) from error
    except RecursionError as error:
        raise QueryTooLarge("The document is nested too deep.") from error


def chosen(document: DocumentNode, name: str | None) -> OperationDefinitionNode:
    """The operation to run. Raises QueryInvalid and MalformedRequest."""
    found = [d for d in document.definitions if isinstance(d, OperationDefinitionNode)]
    if name is None:
        if len(found) == 1:
            return found[0]
        if not found:
            raise QueryInvalid("The document has no operation.")
        raise MalformedRequest("The document has several operations: name one in operationName.")
    for operation in found:
        if operation.name is not None and operation.name.value == name:
            return operation
    raise MalformedRequest(f"The document has no operation named {name[:60]!r}.")


class Documents:
    """The documents of one schema that were understood last; each is parsed and validated once."""

    def __init__(
        self, schema: TenantSchema, rules: Rules, most_characters: int = 1_000_000
    ) -> None:
        self.rules = rules
        self._schema = schema
        self._kept: Kept[str, DocumentNode] = Kept(most_characters)

    def operation(self, text: str, name: str | None) -> Operation:
        """The operation to run. Raises QuerySyntax, QueryInvalid, QueryTooLarge, MalformedRequest."""
        document = self._document(text)
        fragments = {
            found.name.value: found
            for found in document.definitions
            if isinstance(found, FragmentDefinitionNode)
        }
        return Operation(self._schema, chosen(document, name), fragments, self.rules)

    def _document(self, text: str) -> DocumentNode:
        document = self._kept.get(text)
        if document is None:
            document = self._valid(parsed(text))
            self._kept.keep(text, document, len(text))
        return document

    def _valid(self, document: DocumentNode) -> DocumentNode:
        try:
            refuse_larger(document, max_depth=self.rules.max_depth)
            errors = validate(
                self._schema.graphql,
                document,
                _OPEN if self.rules.introspection else _CLOSED,
                max_errors=_MOST_ERRORS,
                hide_suggestions=not self.rules.introspection,
            )
        except RecursionError as error:
            raise QueryTooLarge("The document is nested too deep.") from error
        if errors:
            raise invalid(errors)
        return document

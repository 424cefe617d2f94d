"""One request about records as its handler sees it, and the two kinds of handlers there are."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from api.attempts import Attempt
from api.context import Context
from api.reads import Read
from hubblewave_pipelines.core.entity import Catalog, Entity, Json
from hubblewave_pipelines.core.errors import NotFound
from hubblewave_pipelines.core.identity import as_id
from hubblewave_pipelines.storage.tenants import Principal


@dataclass(frozen=True, slots=True)
class Call:
    """One request; `body` is read before a transaction is open.

    `rest` is what the path holds after the plural: nothing, a record's id, an id and a relation.
    """

    request: Request
    plural: str
    rest: tuple[str, ...]
    body: Json = None

    def entity(self, catalog: Catalog) -> Entity:
        """Raises NotFound when the tenant has no such entity."""
        found = catalog.at_path(self.plural)
        if found is None or self.plural != found.path:
            raise NotFound(f"There is nothing at {self.request.url.path}.")
        return found

    def target(self, context: Context, attempt: Attempt) -> Entity:
        """The entity that is about to be written."""
        attempt.entity = self.entity(context.catalog)
        return attempt.entity

    def record_id(self, entity: Entity) -> UUID:
        """The id in the path. Raises NotFound when it cannot be one."""
        found = as_id(self.rest[0])
        if found is None:
            raise NotFound(f"There is no {entity.name} {self.rest[0]}.")
        return found


Reader: TypeAlias = Callable[[Call, Principal, Catalog], Read[Any]]
Writer: TypeAlias = Callable[[Call, Context, Attempt], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Writing:
    """A handler that writes; `media` are the content types of its body, none when it has none."""

    write: Writer
    media: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Asking:
    """A handler that reads what a JSON body asks for."""

    read: Reader


Handlers: TypeAlias = Mapping[str, Reader | Asking | Writing]  # by HTTP method

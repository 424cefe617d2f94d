"""/api/v1/{plural}/{id}/{relation}/{relatedId}: make two records a pair of a manyToMany, or end it."""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias
from uuid import UUID

from starlette.responses import Response

from api.attempts import Attempt
from api.calls import Call, Handlers, Writing
from api.context import Context
from hubblewave_pipelines.core.entity import Entity, Relation, RelationKind
from hubblewave_pipelines.core.errors import NotFound
from hubblewave_pipelines.core.identity import as_id
from hubblewave_pipelines.core.parameters import refuse_parameters
from hubblewave_pipelines.core.reading import suggestion
from hubblewave_pipelines.storage.bulk import hold_targets
from hubblewave_pipelines.storage.database import Statement
from hubblewave_pipelines.storage.links import link, unlink

_Change: TypeAlias = Callable[[Entity, Relation, UUID, UUID], Statement[Any]]


async def _pair(change: _Change, call: Call, context: Context, attempt: Attempt) -> Response:
    entity = call.target(context, attempt)
    refuse_parameters(call.request.query_params.multi_items())
    _, name, related = call.rest
    record_id, relation = call.record_id(entity), _relation(entity, name)
    target = context.catalog.named(relation.target)
    related_id = as_id(related)
    if target is None or related_id is None:
        raise NotFound(f"There is no {relation.target} {related}.")
    for whose, wanted in ((entity, record_id), (target, related_id)):
        if not await context.tx.all(hold_targets(whose, [wanted])):
            raise NotFound(f"There is no {whose.name} {wanted}.")
    await context.tx.run(change(entity, relation, record_id, related_id))
    return Response(status_code=204)


def _relation(entity: Entity, name: str) -> Relation:
    """The manyToMany of that name. Raises NotFound, which says how the other kinds are changed."""
    found = entity.relations_by_name.get(name)
    if found is None:
        names = [r.name for r in entity.relations if r.kind is RelationKind.MANY_TO_MANY]
        raise NotFound(f"{entity.name} has no relation {name[:60]}{suggestion(name, names)}.")
    if found.kind is RelationKind.MANY_TO_ONE:
        raise NotFound(f"{name} is a manyToOne: change {found.field} of the {entity.name}.")
    if found.kind is RelationKind.ONE_TO_MANY:
        raise NotFound(f"{name} is a oneToMany: change {found.field} of the {found.target}.")
    return found


HANDLERS: Handlers = {
    "PUT": Writing(partial(_pair, link)),
    "DELETE": Writing(partial(_pair, unlink)),
}

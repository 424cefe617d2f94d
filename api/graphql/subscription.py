"""A validated subscription -> what it waits for and what it shows. Pure; the transport is elsewhere.

How a transport uses it: `held.graphql.operation(catalog, text, name)` gives the operation (or
raises), `subscribed(operation, variables, secret=cursor_secret(request, principal))` what it asks for. To
show changed records, run `select_shaped(found.entity, found.members, All((found.filter, ...)))`
(`storage.compiler`) with a condition on their ids and pass each text through `found.shown(text)`:
that is the JSON of the field `found.key`. A deleted record is shown as its id alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from api.graphql.arguments import read_filter
from api.graphql.documents import Operation
from api.graphql.naming import Verb
from api.graphql.planning import Planner
from api.graphql.sealing import has_cursors, sealed
from hubblewave_pipelines.core.entity import Entity, Json
from hubblewave_pipelines.core.errors import Fault, QueryInvalid
from hubblewave_pipelines.core.filters import Conditions
from hubblewave_pipelines.core.identity import as_id
from hubblewave_pipelines.core.query import ID, All, Comparison, Filter, Operator
from hubblewave_pipelines.core.shapes import Member
from hubblewave_pipelines.core.values import Refused


@dataclass(frozen=True)
class Subscribed:
    """What a subscription asks for. `verb` is CREATED, UPDATED or DELETED; `key` the name under
    which `data` shows it; `filter` holds for records to be shown (and names the one record, when
    only one is followed); `since` is the caller's place in the change feed, unread."""

    key: str
    entity: Entity
    verb: Verb
    filter: Filter
    members: tuple[Member, ...]  # none for DELETED
    since: str | None
    secret: bytes

    def shown(self, text: str) -> str:
        """The JSON text of a record as `select_shaped` wrote it, with its cursors sealed."""
        if has_cursors(self.members):
            return sealed(text, self.members, self.secret)
        return text


def subscribed(operation: Operation, given: Mapping[str, Json], *, secret: bytes) -> Subscribed:
    """Raises QueryInvalid and QueryTooLarge."""
    planner = Planner(operation, operation.variables(given), secret)
    [(key, nodes)] = planner.roots().items()  # validation lets one field through
    root = planner.root(nodes)
    if root is None:
        raise QueryInvalid("A subscription names one field about records.")
    arguments = planner.root_arguments(key, nodes)
    parts: list[Filter] = []
    try:
        if arguments.get("filter"):
            conditions = Conditions(operation.schema.catalog)
            parts.append(read_filter(root.entity, arguments, conditions))
    except Refused as refused:
        fault = Fault(refused.code, refused.detail, parameter="filter")
        raise QueryInvalid(f"{key}: {refused.detail}.", faults=[fault]) from refused
    if arguments.get("id") is not None:
        record_id = as_id(arguments["id"])
        if record_id is None:
            fault = Fault("format", "expected the id of a record, a UUID", parameter="id")
            raise QueryInvalid(f"{key}: the id is not a UUID.", faults=[fault])
        parts.append(Comparison(ID, Operator.EQ, record_id))
    shows = root.verb is not Verb.DELETED
    members = planner.record(root.entity, nodes, 1) if shows else ()
    wanted = parts[0] if len(parts) == 1 else All(tuple(parts))
    return Subscribed(key, root.entity, root.verb, wanted, members, arguments.get("since"), secret)

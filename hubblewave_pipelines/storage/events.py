"""Events: what happened, written by the transaction that made it so and read by the fan-out.

Events of records are written by triggers (`storage.capture`), an import's summary by a trigger of
its job row. Everything else is said here, by whoever makes it true.
"""

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from hubblewave_pipelines.storage.database import Statement, statement


def record_event(
    tenant_id: UUID, kind: str, data: Mapping[str, Any], ordering_key: str
) -> Statement[UUID]:
    """Say that `kind` (`export.completed`) happened, if the caller's transaction commits.

    `data` is what receivers get: plain JSON values. Events with one ordering key reach a webhook
    that asks for order in the order in which they were recorded; take the id of what they are about.
    Answers the event's id.
    """
    return statement(
        "insert into hubblewave.events (tenant_id, type, data, ordering_key)"
        " values (%s, %s, %s, %s) returning id",
        (
            tenant_id,
            kind,
            json.dumps(data, ensure_ascii=False, separators=(",", ":"), default=str),
            ordering_key,
        ),
        lambda row: row[0],
    )

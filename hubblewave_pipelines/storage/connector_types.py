"""The types of connectors that this version has, as rows: the API reads them and loads no connector."""

from collections.abc import Iterable
from typing import Any

from psycopg.types.json import Jsonb

from hubblewave_pipelines.core.stream import ConnectorType
from hubblewave_pipelines.storage.database import Statement, statement


def put_types(types: Iterable[ConnectorType]) -> list[Statement[Any]]:
    """Make the rows what `types` says, as their owner."""
    known = list(types)
    gone = statement(
        "delete from hubblewave.connector_types where name <> all(%s)",
        ([each.name for each in known],),
    )
    return [gone, *map(_put, known)]


def _put(known: ConnectorType) -> Statement[Any]:
    return statement(
        "insert into hubblewave.connector_types as t (name, title, config, credentials, capabilities)"
        " values (%s, %s, %s, %s, %s) on conflict (name) do update set title = excluded.title,"
        " config = excluded.config, credentials = excluded.credentials,"
        " capabilities = excluded.capabilities, updated_at = now()"
        " where (t.title, t.config, t.credentials, t.capabilities) is distinct from"
        " (excluded.title, excluded.config, excluded.credentials, excluded.capabilities)",
        (
            known.name,
            known.title,
            *(Jsonb(dict(part)) for part in (known.config, known.credentials, known.capabilities)),
        ),
    )


def all_types() -> Statement[ConnectorType]:
    return statement(
        "select name, title, config, credentials, capabilities from hubblewave.connector_types"
        " order by name",
        (),
        lambda row: ConnectorType(*row),
    )

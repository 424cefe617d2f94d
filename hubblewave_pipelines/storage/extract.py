"""`Extract` -> the COPY that sends its rows as CSV, each value in its text form."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hubblewave_pipelines.core.entity import FieldKind
from hubblewave_pipelines.core.export_request import Extract
from hubblewave_pipelines.core.values import TEXT_KINDS
from hubblewave_pipelines.storage.conditions import alias, where
from hubblewave_pipelines.storage.database import Statement, statement
from hubblewave_pipelines.storage.json_values import as_json
from hubblewave_pipelines.storage.order import Joins, Order
from hubblewave_pipelines.storage.physical import identifier, qualified
from hubblewave_pipelines.storage.sql import Sql

_ROW = alias(0)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The instant that an export shows: what was committed, in xids, and the time."""

    visible: str  # xmin:xmax:in-progress, as pg_current_snapshot() writes it
    at: datetime


def current_snapshot() -> Statement[Snapshot]:
    return statement(
        "select pg_current_snapshot()::text, transaction_timestamp()",
        (),
        lambda row: Snapshot(row[0], row[1]),
    )


def _value(kind: FieldKind, name: str) -> str:
    match kind:
        case FieldKind.BOOLEAN:
            return f"{name}::text"
        case FieldKind.DECIMAL:
            return name
        case FieldKind.DATETIME:
            # Half of what `to_char` costs, for times of whole seconds: most that people write.
            whole = f"replace({name}::timestamp::text, ' ', 'T') || '.000000Z'"
            is_whole = f"{name}::timestamptz(0) = {name} and {name} < '10000-01-01Z'"
            return f"case when {is_whole} then {whole} else {as_json(kind, name)} end"
        case _:
            return as_json(kind, name)


def copy_rows(extract: Extract, *, quoted: bool = False, delimiter: str = ",") -> Statement[Any]:
    """The rows as CSV without header: null is an empty cell, an empty text is `""`.

    Times are ISO 8601 in UTC. With `quoted`, every text is in quotes and no other value is, but for
    JSON that needs them.
    """
    joins = Joins()
    values, texts = [], []
    for number, source in enumerate(extract.columns):
        column = source.column
        owner = joins.alias(source.path) if source.path else _ROW
        value = _value(column.kind, f"{owner}.{identifier(column.physical)}")
        values.append(f"{value} as v{number}")
        if quoted and column.kind in TEXT_KINDS:
            texts.append(f"v{number}")
    order = Order(extract.sort, joins=joins)
    sql = Sql(["copy (select ", ", ".join(values), f" from {qualified(extract.entity)} {_ROW}"])
    sql.add(joins.text)
    sql.append(where(extract.filter))
    if extract.sort:
        sql.add(f" order by {order.by()}")
    if extract.limit is not None:
        sql.add(" limit %s", extract.limit)
    if extract.offset:
        sql.add(" offset %s", extract.offset)
    sql.add(") to stdout (format csv, delimiter %s", delimiter)
    if texts:
        sql.add(f", force_quote ({', '.join(texts)})")
    return statement(sql.add(")").text, sql.params)

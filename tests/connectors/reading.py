"""What a connector reads, page by page and as a whole, as the tests of all vendors look at it."""

import json
from collections.abc import Callable, Iterator, Sequence

from hubblewave_pipelines.connectors.protocol import Connector
from hubblewave_pipelines.core.stream import Page, Stream, Window

Record = dict[str, str | None]
WHOLE = Window()


def records_of(page: Page) -> list[Record]:
    assert all(len(cells) == page.rows for cells in page.columns.values())
    return [{n: cells[row] for n, cells in page.columns.items()} for row in range(page.rows)]


def pages(
    connector: Connector,
    stream: Stream,
    window: Window = WHOLE,
    *,
    fields: Sequence[str] | None = None,
    filter: str | None = None,
) -> Iterator[Page]:
    names = [field.name for field in stream.fields] if fields is None else fields
    plan = connector.plan(stream, names, window, filter=filter)
    for part in plan.slices:
        yield from connector.read(plan, part, None)


def read(
    connector: Connector,
    stream: Stream,
    window: Window = WHOLE,
    *,
    fields: Sequence[str] | None = None,
    filter: str | None = None,
    between: Callable[[], object] = lambda: None,
) -> dict[str, Record]:
    """Records by key, each of which must come once. `between` is called after each page."""
    found: dict[str, Record] = {}
    for page in pages(connector, stream, window, fields=fields, filter=filter):
        for record in records_of(page):
            key = record[stream.key]
            assert key is not None
            assert key not in found, f"{key} came twice"
            found[key] = record
        between()
    return found


def read_in_pieces(
    connect: Callable[[], Connector],
    stream: Stream,
    window: Window = WHOLE,
    fields: Sequence[str] = (),
) -> dict[str, Record]:
    """As `read`, with a new connector and a stored position for every single page."""
    found: dict[str, Record] = {}
    plan = connect().plan(stream, fields, window)
    for part in plan.slices:
        position = None
        while True:
            page = next(iter(connect().read(plan, part, position)))
            for record in records_of(page):
                assert record[stream.key] not in found
                found[str(record[stream.key])] = record
            if page.position is None:
                break
            position = json.loads(json.dumps(page.position))
    return found

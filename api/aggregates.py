"""GET /{plural}/aggregate: counts, sums, averages, extremes, by groups."""

import msgspec
from starlette.responses import Response

from api.body import JSON
from api.calls import Call
from api.reads import Read
from hubblewave_pipelines.core.aggregation import parse_aggregation
from hubblewave_pipelines.core.entity import Catalog
from hubblewave_pipelines.storage.aggregates import Page, select_groups
from hubblewave_pipelines.storage.database import AsyncTransaction
from hubblewave_pipelines.storage.tenants import Principal


def aggregating(call: Call, principal: Principal, catalog: Catalog) -> Read[Page]:
    """A page of groups, in the shape of a list."""
    entity = call.entity(catalog)
    asked = parse_aggregation(entity, call.request.query_params.multi_items(), catalog=catalog)

    async def answer(found: Page | None, tx: AsyncTransaction | None) -> Response | None:
        if found is None:
            raise AssertionError("an aggregate always answers one row")
        info = {
            "currentPage": asked.page,
            "pageSize": asked.page_size,
            "hasNextPage": found.more,
            "hasPreviousPage": asked.page > 1,
        }
        text = msgspec.json.encode(info).decode()
        return Response(f'{{"items":{found.items},"pageInfo":{text}}}', 200, None, JSON)

    return Read(entity, select_groups(asked), answer)

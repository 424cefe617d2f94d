"""GET /api/v1/{plural}/changes: what was committed since a token, in the order of commits."""

from starlette.responses import Response

from api.body import JSON
from api.calls import Call
from api.lists import cursor_secret
from api.reads import Read
from hubblewave_pipelines.core.entity import Catalog
from hubblewave_pipelines.core.feed import Tokens, parse_feed
from hubblewave_pipelines.storage.changes import Changes, select_changes
from hubblewave_pipelines.storage.database import AsyncTransaction
from hubblewave_pipelines.storage.tenants import Principal


def changes(call: Call, principal: Principal, catalog: Catalog) -> Read[Changes]:
    """One page of the feed, with the token to go on from."""
    entity = call.entity(catalog)
    tokens = Tokens(cursor_secret(principal), entity)
    feed = parse_feed(entity, call.request.query_params.multi_items(), tokens)

    async def answer(found: Changes | None, tx: AsyncTransaction | None) -> Response | None:
        if found is None:
            raise AssertionError("an aggregate always answers one row")
        more, token = str(found.more).lower(), tokens.token(found.next)
        text = f'{{"items":{found.items},"next":"{token}","more":{more}}}'
        return Response(text, 200, None, JSON)

    return Read(entity, select_changes(feed), answer)

"""GET /api/v1/{plural}/changes: what was committed since a token, in the order of commits."""

import asyncio
import time

import psycopg
from starlette.responses import Response

from api.body import JSON
from api.calls import Call
from api.context import credential, platform
from api.lists import cursor_secret
from api.reads import Read
from hubblewave_pipelines.core.entity import Catalog
from hubblewave_pipelines.core.errors import Expired, Unavailable
from hubblewave_pipelines.core.feed import Feed, Tokens, parse_feed
from hubblewave_pipelines.storage.changes import Changes, select_changes
from hubblewave_pipelines.storage.database import AsyncTransaction
from hubblewave_pipelines.storage.tenants import Principal, authenticated

_PAUSE = 0.5  # seconds between looks; a look costs a third of a millisecond


def changes(call: Call, principal: Principal, catalog: Catalog) -> Read[Changes]:
    """One page of the feed, with the token to go on from."""
    entity = call.entity(catalog)
    tokens = Tokens(cursor_secret(call.request, principal), entity)
    feed = parse_feed(entity, call.request.query_params.multi_items(), tokens)

    async def answer(found: Changes | None, tx: AsyncTransaction | None) -> Response | None:
        if found is None:
            raise AssertionError("an aggregate always answers one row")
        if tx is None and feed.wait and not found.shown and not found.expired:
            found = await _awaited(call, principal, feed, found)
        if found.expired:
            raise Expired(
                "Deletions since this token are no longer kept. Read everything anew, without since."
            )
        more, token = str(found.more).lower(), tokens.token(found.next)
        text = f'{{"items":{found.items},"next":"{token}","more":{more}}}'
        return Response(text, 200, None, JSON)

    return Read(entity, select_changes(feed), answer)


async def _awaited(call: Call, principal: Principal, feed: Feed, found: Changes) -> Changes:
    """The first page with changes, or an empty one once the wait is over. Between two looks nothing
    is held: no connection, no snapshot."""
    held, key = platform(call.request), credential(call.request.headers)
    until = time.monotonic() + feed.wait
    while not found.shown and time.monotonic() < until:
        await asyncio.sleep(_PAUSE)
        try:
            confirmed = await held.database.alone(authenticated(key, select_changes(feed)))
        except (psycopg.Error, Unavailable):
            break  # the empty page is still true, and the next request meets what is wrong
        if confirmed is None or confirmed[0] != principal or confirmed[1] is None:
            break  # the key or the definition has changed: the next request is judged anew
        found = confirmed[1]
    return found

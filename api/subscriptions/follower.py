"""One subscription: what it wants, how far it was told, and how it is told."""

import asyncio
from collections.abc import Callable

import msgspec

from api.graphql.refusals import errors_of
from api.graphql.subscription import Subscribed
from api.subscriptions import protocol
from api.subscriptions.gauges import DROPPED
from api.subscriptions.outbox import Lane, Outbox
from hubblewave_pipelines.core.entity import Catalog
from hubblewave_pipelines.core.errors import (
    Expired,
    PlatformError,
    QueryInvalid,
    SubscriptionLagging,
)
from hubblewave_pipelines.core.feed import Place, Tokens
from hubblewave_pipelines.storage.record_events import Snapshot
from hubblewave_pipelines.storage.tenants import Principal

Compile = Callable[[Catalog], Subscribed]


class Follower:
    """`place` is the last event that it was told of, or that was not for it."""

    def __init__(
        self,
        compile_for: Compile,
        catalog: Catalog,
        principal: Principal,
        outbox: Outbox,
        lane: Lane,
        request_id: str,
    ) -> None:
        """Raises PlatformError: the document does not fit, or its cursor is of another feed."""
        self._compile = compile_for
        self.wanted = compile_for(catalog)
        self.principal = principal
        self._tokens = Tokens(self.wanted.secret, self.wanted.entity)
        self.place: Place | None = None
        if self.wanted.since is not None:
            self.place = self._tokens.place(self.wanted.since)
        self.seen: Snapshot | None = None  # what had happened already when it began
        self._outbox, self._lane, self._request_id = outbox, lane, request_id
        self.over = asyncio.Event()

    def begin(self, place: Place, seen: Snapshot) -> None:
        """Follow what comes from now on."""
        self.place, self.seen = place, seen

    def wants(self, place: Place) -> bool:
        """Whether an event is news to it."""
        told = self.place
        if self.over.is_set() or told is None or told.reaches(place):
            return False
        return self.seen is None or not self.seen.shows(place.xid)

    def passes(self, place: Place) -> None:
        """Up to there it was told of everything."""
        told = self.place
        if not self.over.is_set() and told is not None and not told.reaches(place):
            self.place = place

    def misses(self, removed: Place | None) -> bool:
        """Whether versions it was not told of yet are no longer kept; that ends it."""
        told = self.place
        if self.over.is_set() or removed is None or told is None or told.reaches(removed):
            return False
        DROPPED.labels("expired").inc()
        self.place = None  # nothing can go on from there
        self.fail(
            Expired(
                "Versions after this cursor are no longer kept. Read the list anew, and subscribe "
                "with a cursor that you took before (`next` of .../changes?since=now)."
            )
        )
        return True

    def tell(self, place: Place, payload: str) -> None:
        """One event; a client that does not keep up is told where to go on instead."""
        if self._outbox.offer(self._lane, payload):
            self.place = place
            return
        DROPPED.labels("lagging").inc()
        self.fail(
            SubscriptionLagging(
                "This client reads too slowly: events were about to be lost. Subscribe again with "
                "`since` set to the cursor of the last event."
            )
        )

    async def room(self) -> None:
        await self._outbox.room(self._lane)

    def refit(self, catalog: Catalog) -> bool:
        """Follow the definitions as they are now; false when the document no longer fits them."""
        try:
            wanted = self._compile(catalog)
            if wanted.entity.id != self.wanted.entity.id:
                raise QueryInvalid(
                    f"{wanted.entity.name} is another entity than it was: subscribe again."
                )
        except PlatformError as error:
            DROPPED.labels("definition").inc()
            self.fail(error)
            return False
        self.wanted = wanted
        return True

    def fail(self, error: PlatformError) -> None:
        """End it with an error that says where to go on, if anywhere."""
        if self.over.is_set():
            return
        self.over.set()
        errors = errors_of(error, self._request_id)
        if self.place is not None:
            cursor = self._tokens.token(self.place)
            for found in errors:
                found["extensions"]["cursor"] = cursor
        self._outbox.finish(self._lane, protocol.error(self._lane.operation, errors))

    def stop(self) -> None:
        """The client wants no more of it."""
        self.over.set()
        self._outbox.close(self._lane)


def payload_of(wanted: Subscribed, shown: str, cursor: str, changed: list[str]) -> str:
    """The JSON of one event as the payload of a `next`; it begins `{"data":`."""
    key = msgspec.json.encode(wanted.key).decode()
    names = msgspec.json.encode(changed).decode()
    return (
        f'{{"data":{{{key}:{wanted.shown(shown)}}},'
        f'"extensions":{{"cursor":"{cursor}","changedFields":{names}}}}}'
    )

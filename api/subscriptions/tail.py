"""The events of one entity of one tenant, read once for all its subscriptions in this process.

A page of the feed is read from where the last one ended; each distinct filter and selection is
evaluated once per page, and what passes goes to everybody who asked for the same.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import msgspec
import psycopg
import structlog

from api.graphql.subscription import Subscribed
from api.subscriptions.follower import Follower, payload_of
from api.subscriptions.gauges import DROPPED, LAG
from hubblewave_pipelines.core.entity import Entity
from hubblewave_pipelines.core.errors import PlatformError, Unavailable
from hubblewave_pipelines.core.feed import Place, Tokens
from hubblewave_pipelines.core.query import All
from hubblewave_pipelines.storage.database import AsyncDatabase
from hubblewave_pipelines.storage.record_events import (
    EventPage,
    Kind,
    Shown,
    select_events,
    select_shown,
)
from hubblewave_pipelines.storage.refusals import SLOW, STALE_SHAPE
from hubblewave_pipelines.storage.tenants import on_behalf

_PAGE = 100
_log = structlog.get_logger("api")


@dataclass(eq=False)
class Group:
    """Subscriptions that ask for the same."""

    wanted: Subscribed
    followers: set[Follower] = field(default_factory=set)


def alike(wanted: Subscribed) -> Hashable:
    """What subscriptions that can share an answer have in common."""
    return wanted.verb, wanted.key, wanted.filter, wanted.members


def _fail(followers: Iterable[Follower], error: PlatformError) -> None:
    for follower in list(followers):
        DROPPED.labels("failed").inc()
        follower.fail(error)


class Tail:
    """`read` a page, `tell` everybody of it; `catch_up` is for those who are behind."""

    def __init__(
        self, database: AsyncDatabase, tenant_id: UUID, entity: Entity, secret: bytes, place: Place
    ) -> None:
        self._database = database
        self.tenant_id = tenant_id
        self.entity = entity
        self._tokens = Tokens(secret, entity)
        self.place = place
        self._groups: dict[Hashable, Group] = {}
        self._page: EventPage | None = None  # read, and not told to everybody yet
        self.stale = True  # there may be something new
        self.due = 0.0  # when to look again at the earliest, by the loop's clock
        self.pause = 0.0
        self.busy = False
        self._refit_names()

    def _refit_names(self) -> None:
        own = {found.column: found.name for found in self.entity.fields}
        self._names = own | {r.column: name for name, r in self.entity.references.items()}

    @property
    def followers(self) -> list[Follower]:
        return [follower for group in self._groups.values() for follower in group.followers]

    def add(self, follower: Follower) -> None:
        key = alike(follower.wanted)
        self._groups.setdefault(key, Group(follower.wanted)).followers.add(follower)

    def remove(self, follower: Follower) -> None:
        key = alike(follower.wanted)
        group = self._groups.get(key)
        if group is not None:
            group.followers.discard(follower)
            if not group.followers:
                del self._groups[key]

    def refit(self, entity: Entity | None, followers: Sequence[Follower]) -> None:
        """Go on with changed definitions; `followers` are those whose documents still fit."""
        if entity is not None:
            self.entity = entity
        self._refit_names()
        self._groups.clear()
        for follower in followers:
            self.add(follower)

    async def read(self) -> EventPage:
        """The page to be told, which may have been begun. Raises psycopg.Error and Unavailable."""
        if self._page is None:
            self._page = await self._select(self.place)
            # Who joins from here on is past this page, or reads it for itself.
            self.place = self._page.next
            LAG.set(self._page.lag)
        return self._page

    async def tell(self) -> bool:
        """Tell everybody of the page; whether there is more at once. Told again after a failure,
        nobody is told twice. Raises psycopg.Error and Unavailable."""
        page = self._page
        if page is None:
            return False
        for group in list(self._groups.values()):
            await self._tell_group(group, page)
        for follower in self.followers:
            follower.passes(page.next)
        self._page = None
        return page.more

    async def _tell_group(self, group: Group, page: EventPage) -> None:
        try:
            payloads, removed = await self._payloads(group.wanted, page)
        except SLOW:
            refused: PlatformError = Unavailable("The subscription's filter takes too long.")
        except (psycopg.OperationalError, psycopg.InterfaceError, *STALE_SHAPE):
            raise
        except psycopg.Error:
            _log.exception("subscription", tenant_id=str(self.tenant_id), entity=self.entity.name)
            refused = PlatformError("The platform failed to show a record; its log has more.")
        else:
            for follower in list(group.followers):
                if follower.misses(removed):
                    continue
                for place, payload in payloads:
                    if follower.wants(place):
                        follower.tell(place, payload)
            return
        _fail(group.followers, refused)

    def fail(self, error: PlatformError) -> None:
        """End every subscription with the place to go on from."""
        _fail(self.followers, error)

    async def catch_up(self, follower: Follower) -> bool:
        """Tell one subscription of the page after its own place; whether there is more at once.
        Waits for its client. Raises psycopg.Error and Unavailable."""
        if follower.place is None:
            raise AssertionError("a subscription has a place before it follows")
        page = await self._select(follower.place)
        payloads, removed = await self._payloads(follower.wanted, page)
        if follower.misses(removed):
            return False
        for place, payload in payloads:
            await follower.room()
            if follower.wants(place):
                follower.tell(place, payload)
        follower.passes(page.next)
        return page.more

    async def _select(self, place: Place) -> EventPage:
        read = select_events(self.entity, place, _PAGE)
        page = await self._database.alone(on_behalf(self.tenant_id, read))
        if page is None:
            raise AssertionError("an aggregate always answers one row")
        return page

    async def _payloads(
        self, wanted: Subscribed, page: EventPage
    ) -> tuple[list[tuple[Place, str]], Place | None]:
        """Of the events that a subscription asks for, those that pass its filter; and up to where
        versions are gone by then, so that some may be missing."""
        events = [event for event in page.events if event.kind.value == wanted.verb.value]
        if not events:
            return [], page.removed
        gone = wanted.verb.value == Kind.DELETED.value
        if gone and wanted.filter == All():
            shown = Shown(dict.fromkeys(range(len(events)), ""), page.removed)
        else:
            read = select_shown(self.entity, events, wanted.members, wanted.filter)
            looked = await self._database.alone(on_behalf(self.tenant_id, read))
            if looked is None:
                raise AssertionError("an aggregate always answers one row")
            shown = looked
        found = []
        for k, event in enumerate(events):
            if k not in shown.records:
                continue
            text = msgspec.json.encode(event.place.id).decode() if gone else shown.records[k]
            names = [name for column, name in self._names.items() if column in event.changed]
            cursor = self._tokens.token(event.place)
            found.append((event.place, payload_of(wanted, text, cursor, names)))
        return found, shown.removed

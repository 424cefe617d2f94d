"""Events to deliveries, tenant by tenant in turn, so that nobody's million events hold up the others."""

from collections import OrderedDict
from collections.abc import Sequence
from uuid import UUID

from hubblewave_pipelines.core.entity import Catalog
from hubblewave_pipelines.core.values import Refused
from hubblewave_pipelines.core.webhook import read_filter
from hubblewave_pipelines.storage import alert_mails, fanout, replays
from hubblewave_pipelines.storage.catalog import catalog_from, load_catalog_rows
from hubblewave_pipelines.storage.database import AsyncDatabase, AsyncTransaction
from hubblewave_pipelines.storage.fanout import Fresh

_MOST_EVENTS = 500  # in one transaction
_MOST_DELIVERIES = 2_000  # likewise
_TENANTS = 200  # in one round
_CATALOGS = 100
_REPLAY_PAGE = 500


class Fanning:
    """The fan-out of one worker. Catalogs are kept by version, which is read with every batch. With
    `mails` the events that operators are told by mail are queued for that as well."""

    def __init__(self, database: AsyncDatabase, *, mails: bool = False) -> None:
        self._database = database
        self._mails = mails
        self._catalogs: OrderedDict[UUID, Catalog] = OrderedDict()

    async def round(self) -> tuple[int, bool]:
        """One batch of each tenant that has events: how many events, and whether more may wait."""
        async with self._database.transaction() as tx:
            tenants = await tx.all(fanout.tenants_with_events(_TENANTS))
        done, more = 0, len(tenants) == _TENANTS
        for tenant_id in tenants:
            async with self._database.transaction(tenant_id) as tx:
                events, full = await self._batch(tx, tenant_id)
            done += events
            more = more or full
        return done, more

    async def _batch(self, tx: AsyncTransaction, tenant_id: UUID) -> tuple[int, bool]:
        if not await tx.one(fanout.take_turn(tenant_id)):
            return 0, False  # another worker is at it
        webhooks = await tx.one(fanout.count_webhooks(tenant_id)) or 0
        size = max(1, min(_MOST_EVENTS, _MOST_DELIVERIES // max(webhooks, 1)))
        events = await tx.all(fanout.fresh_events(tenant_id, size))
        if not events:
            return 0, False
        catalog = await self._catalog(tx, tenant_id)
        whole = size > 1 and all(event.fanned_to is None for event in events)
        for entity in catalog:
            own = [event for event in events if event.entity_id == entity.id]
            if own:
                await tx.run(fanout.render_records(entity, own, finish=whole))
        await tx.run(fanout.render_orphans(events))
        told = [event for event in events if event.type in alert_mails.TOLD] if self._mails else []
        if told:
            since = min(event.occurred_at for event in told)
            await tx.run(alert_mails.queue([event.id for event in told], since))
        after = events[0].fanned_to if size == 1 else None
        until = None
        if size == 1:
            until = await tx.one(fanout.window_end(tenant_id, after, _MOST_DELIVERIES))
        elif not whole:
            # Webhooks went since the fan-out of these began: end each one where it stands.
            for event in events:
                await self._deliver(tx, tenant_id, [event], catalog, event.fanned_to, None)
            await tx.run(fanout.finish_events(events))
            return len(events), len(events) == size
        await self._deliver(tx, tenant_id, events, catalog, after, until)
        if until is not None:
            await tx.run(fanout.note_progress(events[0], until))
            return 0, True
        await tx.run(fanout.finish_events(events))
        return len(events), len(events) == size

    async def _deliver(
        self,
        tx: AsyncTransaction,
        tenant_id: UUID,
        events: Sequence[Fresh],
        catalog: Catalog,
        after: UUID | None,
        until: UUID | None,
    ) -> None:
        await tx.run(fanout.make_deliveries(tenant_id, events, after, until))
        types = list({event.type for event in events})
        for webhook in await tx.all(fanout.filtered_webhooks(tenant_id, types, after, until)):
            try:
                entity, fits = read_filter(webhook.filter, webhook.events, catalog)
            except Refused:
                await tx.run(fanout.bury_unfit(tenant_id, webhook.id, events))
                continue
            await tx.run(fanout.make_filtered(tenant_id, webhook.id, events, entity, fits))

    async def replay(self) -> int:
        """A page of each replay that has room: how many events were looked at."""
        async with self._database.transaction() as tx:
            running = await tx.all(replays.running_replays(_TENANTS))
        seen = 0
        for replay in running:
            async with self._database.transaction(replay.tenant_id) as tx:
                fits = None
                if replay.filter is not None:
                    catalog = await self._catalog(tx, replay.tenant_id)
                    try:
                        fits = read_filter(replay.filter, tuple(replay.events), catalog)
                    except Refused:
                        await tx.run(replays.end_replay(replay.id))
                        continue
                seen += await tx.one(replays.advance(replay, _REPLAY_PAGE, fits)) or 0
        return seen

    async def _catalog(self, tx: AsyncTransaction, tenant_id: UUID) -> Catalog:
        version = await tx.one(fanout.catalog_version(tenant_id))
        kept = self._catalogs.get(tenant_id)
        if kept is None or kept.version != version:
            rows = await tx.all(load_catalog_rows(tenant_id))
            kept = catalog_from(tenant_id, rows[0][0], rows[0][1], rows)
        self._catalogs[tenant_id] = kept
        self._catalogs.move_to_end(tenant_id)
        while len(self._catalogs) > _CATALOGS:
            self._catalogs.popitem(last=False)
        return kept

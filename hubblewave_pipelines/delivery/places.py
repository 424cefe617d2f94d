"""Who may be sent to next: what is claimed waits here for a place, and keeps it until its result is committed."""

from collections import Counter, OrderedDict, deque
from uuid import UUID

from hubblewave_pipelines.delivery.attempt import Lease


class Places:
    """At most `total` deliveries in flight, `per_tenant` of one tenant, `per_webhook` of one webhook.

    In flight is what was begun and is not recorded: what a kill makes come twice.
    """

    def __init__(self, *, total: int, per_tenant: int, per_webhook: int) -> None:
        self._total, self._per_tenant, self._per_webhook = total, per_tenant, per_webhook
        self._waiting: OrderedDict[UUID, deque[Lease]] = OrderedDict()
        self._webhooks: Counter[UUID] = Counter()
        self._tenants: Counter[UUID] = Counter()
        self.taken = 0

    def add(self, lease: Lease) -> None:
        self._waiting.setdefault(lease.claimed.webhook_id, deque()).append(lease)

    def waiting(self, webhook_id: UUID) -> int:
        return len(self._waiting.get(webhook_id, ()))

    def fill(self) -> list[Lease]:
        """Those that take a place now: one of each webhook in turn, each webhook's in order."""
        begun: list[Lease] = []
        without = 0  # webhooks in a row that had no room
        while self._waiting and self.taken < self._total and without < len(self._waiting):
            webhook_id, queue = next(iter(self._waiting.items()))
            tenant_id = queue[0].claimed.tenant_id
            self._waiting.move_to_end(webhook_id)
            if (
                self._webhooks[webhook_id] >= self._per_webhook
                or self._tenants[tenant_id] >= self._per_tenant
            ):
                without += 1
                continue
            begun.append(queue.popleft())
            if not queue:
                del self._waiting[webhook_id]
            self._webhooks[webhook_id] += 1
            self._tenants[tenant_id] += 1
            self.taken += 1
            without = 0
        return begun

    def leave(self, webhook_id: UUID, tenant_id: UUID) -> None:
        """A delivery that had a place is over, or its result is committed."""
        self.taken -= 1
        for counts, key in ((self._webhooks, webhook_id), (self._tenants, tenant_id)):
            counts[key] -= 1
            if not counts[key]:
                del counts[key]

    def clear(self) -> list[Lease]:
        """Nobody takes a place any more: those that waited."""
        left = [lease for queue in self._waiting.values() for lease in queue]
        self._waiting.clear()
        return left

"""One attempt at one delivery: transform, sign, post, and what its outcome means for the next one."""

import hashlib
import random
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from hubblewave_pipelines.core.backoff import LONGEST_WISH
from hubblewave_pipelines.core.errors import PlatformError, Recovery
from hubblewave_pipelines.delivery.message import Endpoint, body_of, headers_of, redacted
from hubblewave_pipelines.delivery.posting import Posted, Session, post
from hubblewave_pipelines.delivery.transforms import TransformPool
from hubblewave_pipelines.storage.deliveries import Claimed
from hubblewave_pipelines.storage.results import Outcome, Result

_GONE, _TOO_MANY, _UNAVAILABLE = 410, 429, 503


@dataclass(frozen=True, slots=True)
class Lease:
    """A claimed delivery, and when this process got hold of it by its own steady clock."""

    claimed: Claimed
    since: float = field(default_factory=time.monotonic)

    def now(self) -> datetime:
        """The database's time: receivers judge our signatures by the clock, and ours may be wrong."""
        return self.claimed.started_at + timedelta(seconds=time.monotonic() - self.since)


def failed(
    lease: Lease, outcome: Outcome, error_class: str, detail: str, *, reason: str | None = None,
    wait: float = 0.0,
) -> Result:  # fmt: skip
    """The result of an attempt that never opened a socket."""
    found = lease.claimed
    return Result(
        delivery_id=found.id,
        tenant_id=found.tenant_id,
        webhook_id=found.webhook_id,
        token=found.token,
        n=found.attempt,
        started_at=found.started_at,
        kind=found.kind,
        outcome=outcome,
        wait=wait,
        reason=reason,
        error_class=error_class,
        detail=detail,
    )


async def make_attempt(
    lease: Lease, endpoint: Endpoint, session: Session, transforms: TransformPool, *, total: float
) -> Result:
    """Send a claimed delivery once; `total` seconds is the longest the receiver may take.

    Raises nothing for what a receiver or a transform may do.
    """
    found = lease.claimed
    if found.data is None:
        return failed(lease, "dead", "expired", "The event is kept no longer.", reason="expired")
    body = sent = body_of(found.type, found.data, found.occurred_at, found.webhook_id)
    if endpoint.transform is not None:
        try:
            sent = await transforms.run(str(found.tenant_id), endpoint.transform, body)
        except PlatformError as error:
            if error.recovery is Recovery.RETRY:
                wait = endpoint.policy.wait(found.attempt, random.random())  # noqa: S311 - jitter
                return failed(lease, "retry", "transform", error.detail, wait=wait)
            return failed(lease, "dead", "transform", error.detail, reason="transform_failed")
    now = lease.now()
    headers = headers_of(
        endpoint,
        endpoint.keys(now),
        event=found.type,
        delivery=found.id,
        message=found.event_id,
        now=now,
        body=sent,
    )
    posted = await post(session, endpoint.url, headers, sent, total=total, clock=lease.now)
    return _judged(lease, endpoint, posted, redacted(endpoint, headers), body, sent)


def _judged(
    lease: Lease,
    endpoint: Endpoint,
    posted: Posted,
    headers: dict[str, str],
    body: bytes,
    sent: bytes,
) -> Result:
    found = lease.claimed
    outcome: Outcome = "success"
    wait, pause = 0.0, None
    if not posted.ok:
        outcome = "gone" if posted.status == _GONE else "retry"
        wait = endpoint.policy.wait(found.attempt, random.random(), posted.retry_after)  # noqa: S311 - jitter
        if posted.status in (_TOO_MANY, _UNAVAILABLE):
            pause = min(posted.retry_after or wait, LONGEST_WISH)
    return Result(
        delivery_id=found.id,
        tenant_id=found.tenant_id,
        webhook_id=found.webhook_id,
        token=found.token,
        n=found.attempt,
        started_at=found.started_at,
        kind=found.kind,
        outcome=outcome,
        wait=wait,
        pause=pause,
        status=posted.status,
        error_class=None if posted.error_class is None else posted.error_class.value,
        detail=posted.detail,
        duration_ms=posted.duration_ms,
        request_headers=headers,
        response_headers=posted.headers,
        response_body=posted.body,
        body_sha256=hashlib.sha256(body).hexdigest(),
        sent_sha256=hashlib.sha256(sent).hexdigest(),
    )

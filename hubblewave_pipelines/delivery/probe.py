"""Messages that no event stands behind: the challenge that verifies a webhook, and a test delivery."""

import hmac
import json
import secrets
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from hubblewave_pipelines.core.entity import Json
from hubblewave_pipelines.core.errors import TransformFailed, TransformsUnavailable
from hubblewave_pipelines.delivery.message import Endpoint, body_of, headers_of, redacted
from hubblewave_pipelines.delivery.posting import Posted, Session, post
from hubblewave_pipelines.delivery.transforms import TransformPool

SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the receiver proved that it wants our messages. `detail` shows nothing of its reply,
    which would let people read what only we can reach."""

    verified: bool
    reason: str | None = None
    detail: str | None = None


async def challenge(session: Session, endpoint: Endpoint, now: datetime) -> Verdict:
    """POST `{"event":"verification","challenge":...}`; the receiver answers 2xx with the same
    `challenge` in a JSON object within ten seconds."""
    word = secrets.token_hex(32)
    body = json.dumps({"event": "verification", "challenge": word}).encode()
    posted = await _send(session, endpoint, endpoint.keys(now), "verification", now, body)
    if posted.error_class is not None:
        return Verdict(False, posted.error_class.value, posted.detail)
    if not _echoes(posted.body, word):
        return Verdict(False, "challenge", "The answer is not a JSON object with the challenge.")
    return Verdict(True)


def _echoes(text: str, word: str) -> bool:
    try:
        answer: Json = json.loads(text)
    except (ValueError, RecursionError):
        return False
    given = answer.get("challenge") if isinstance(answer, dict) else None
    return isinstance(given, str) and hmac.compare_digest(given.encode(), word.encode())


@dataclass(frozen=True, slots=True)
class Tested:
    """A test delivery: what was sent, and what came of it."""

    delivery_id: uuid.UUID
    event_id: uuid.UUID
    headers: Mapping[str, str]
    body: bytes
    posted: Posted | None
    reason: str | None = None
    detail: str | None = None


async def send_test(
    session: Session,
    transforms: TransformPool,
    endpoint: Endpoint,
    now: datetime,
    *,
    event: str,
    data: Json,
) -> Tested:
    """Send a sample once, transformed and signed as a delivery would be."""
    delivery, message = uuid.uuid4(), uuid.uuid4()
    body = body_of(event, json.dumps(data, default=str), now, endpoint.webhook_id)
    if endpoint.transform is not None:
        try:
            body = await transforms.run(str(endpoint.tenant_id), endpoint.transform, body)
        except (TransformFailed, TransformsUnavailable) as error:
            return Tested(delivery, message, {}, body, None, "transform", error.detail)
    headers = headers_of(
        endpoint,
        endpoint.keys(now),
        event=event,
        delivery=delivery,
        message=message,
        now=now,
        body=body,
    )
    posted = await post(session, endpoint.url, headers, body, total=SECONDS)
    return Tested(delivery, message, redacted(endpoint, headers), body, posted)


async def _send(
    session: Session,
    endpoint: Endpoint,
    keys: Sequence[str],
    event: str,
    now: datetime,
    body: bytes,
) -> Posted:
    headers = headers_of(
        endpoint,
        keys,
        event=event,
        delivery=uuid.uuid4(),
        message=uuid.uuid4(),
        now=now,
        body=body,
    )
    return await post(session, endpoint.url, headers, body, total=SECONDS)

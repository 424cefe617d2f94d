"""What requests with an Idempotency-Key were answered: one row per tenant and key, kept for a day.

The row is written by the transaction that did the work, so it exists exactly when the work was
done. Whoever is at work holds an advisory lock on the key that ends with its transaction, so a
process that dies leaves no key behind that looks busy.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from hubblewave_pipelines.storage.database import Statement, statement

KEPT = "interval '24 hours'"
_SWEPT = 20  # expired keys that each new one takes away: more than one, so that they cannot pile up


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer as it was given; `fingerprint` says to what."""

    fingerprint: bytes
    status: int
    headers: Mapping[str, str]
    body: str


def hold_key(tenant_id: UUID, key: str) -> Statement[bool]:
    """Whether nobody else is at work under the key; if so, nobody else will be until the end of
    this transaction. Run it before `answer_to`, as a statement of its own: what the one before us
    wrote is seen only by a statement that begins after the lock is had.
    """
    digest = hashlib.sha256(b"idempotency %s %s" % (tenant_id.bytes, key.encode())).digest()
    number = int.from_bytes(digest[:8], signed=True)
    return statement("select pg_try_advisory_xact_lock(%s)", (number,), lambda row: bool(row[0]))


def answer_to(tenant_id: UUID, key: str) -> Statement[Kept]:
    """What the key was answered in the last 24 hours, or no row."""
    text = (
        "select fingerprint, status, headers, body from hubblewave.idempotency_keys "  # noqa: S608 - constant text
        f"where tenant_id = %s and key = %s and created_at > now() - {KEPT}"
    )
    return statement(text, (tenant_id, key), lambda row: Kept(*row))


def keep_answer(tenant_id: UUID, key: str, answer: Kept) -> Statement[Any]:
    """Remember an answer under the key, in the place of an expired one; sweeps a few expired keys."""
    text = (
        "with swept as (delete from hubblewave.idempotency_keys where tenant_id = %(tenant)s "  # noqa: S608 - constant text
        "and key = any(array(select k.key from hubblewave.idempotency_keys k "
        "where k.tenant_id = %(tenant)s and k.key <> %(key)s "
        f"and k.created_at <= now() - {KEPT} order by k.created_at limit {_SWEPT} "
        "for update skip locked))) "
        "insert into hubblewave.idempotency_keys "
        "(tenant_id, key, fingerprint, status, headers, body) "
        "values (%(tenant)s, %(key)s, %(fingerprint)s, %(status)s, %(headers)s, %(body)s) "
        "on conflict (tenant_id, key) do update set fingerprint = excluded.fingerprint, "
        "status = excluded.status, headers = excluded.headers, body = excluded.body, "
        "created_at = excluded.created_at"
    )
    params = {
        "tenant": tenant_id,
        "key": key,
        "fingerprint": answer.fingerprint,
        "status": answer.status,
        "headers": Jsonb(dict(answer.headers)),
        "body": answer.body,
    }
    return statement(text, params)

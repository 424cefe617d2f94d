"""Credentials of connectors: sealed, replaced by generations, renewed by one process at a time."""

# ruff: noqa: S608 - only this module's own names are formatted into its statements

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from hubblewave_pipelines.core.credentials import REJECTED, Credentials, Held
from hubblewave_pipelines.core.envelope import Envelope, Place
from hubblewave_pipelines.core.errors import Misconfigured, Unauthorized
from hubblewave_pipelines.storage.database import Database, Statement, Transaction, statement


@dataclass(frozen=True, slots=True)
class CredentialsShown:
    """All that is ever shown of credentials: names of members, never a value."""

    connector_id: UUID
    kind: str
    given: list[str]
    generation: int
    rejected: bool
    expires_at: datetime | None
    given_at: datetime
    renewed_at: datetime | None


def credentials_place(tenant_id: UUID, connector_id: UUID) -> Place:
    return Place(tenant_id, "connector_credentials", str(connector_id), "sealed")


def sealed_credentials(
    envelope: Envelope, tenant_id: UUID, connector_id: UUID, credentials: Credentials
) -> str:
    place = credentials_place(tenant_id, connector_id)
    return envelope.seal(place, json.dumps(credentials.as_json()))


def put_credentials(
    tenant_id: UUID, connector_id: UUID, credentials: Credentials, sealed: str
) -> Statement[Any]:
    """What an admin gave, in place of what was there."""
    names = sorted(set(credentials.given) - {"kind"})
    return statement(
        "insert into hubblewave.connector_credentials as c"
        " (tenant_id, connector_id, kind, given, sealed) values (%s, %s, %s, %s, %s)"
        " on conflict (connector_id) do update set generation = c.generation + 1,"
        " kind = excluded.kind, given = excluded.given, sealed = excluded.sealed, rejected = false,"
        " expires_at = null, given_at = now(), renewed_at = null",
        (tenant_id, connector_id, credentials.kind.value, names, sealed),
    )


def credentials_shown(
    tenant_id: UUID, connector_ids: Sequence[UUID]
) -> Statement[CredentialsShown]:
    return statement(
        "select connector_id, kind, given, generation, rejected, expires_at, given_at, renewed_at"
        " from hubblewave.connector_credentials where tenant_id = %s and connector_id = any(%s)",
        (tenant_id, list(connector_ids)),
        lambda row: CredentialsShown(*row),
    )


def _stored(
    tenant_id: UUID, connector_id: UUID, *, locked: bool
) -> Statement[tuple[str, int, bool]]:
    lock = " for update" if locked else ""
    return statement(
        "select sealed, generation, rejected from hubblewave.connector_credentials"
        f" where tenant_id = %s and connector_id = %s{lock}",
        (tenant_id, connector_id),
        lambda row: (row[0], row[1], row[2]),
    )


class DatabaseVault:
    """The `Vault` of one connector. The row's lock makes a renewal the only one, in whatever process."""

    def __init__(
        self, database: Database, envelope: Envelope, tenant_id: UUID, connector_id: UUID
    ) -> None:
        self._database = database
        self._envelope = envelope
        self._tenant_id = tenant_id
        self._connector_id = connector_id

    def held(self) -> Held:
        with self._database.transaction(self._tenant_id) as tx:
            return self._read(tx, locked=False)

    def renew(self, stale: int, renewal: Callable[[Credentials], Credentials]) -> Held:
        """The renewal is asked for inside the transaction: nobody else asks meanwhile, and what it
        brought is committed before anybody uses it."""
        refused: Unauthorized
        with self._database.transaction(self._tenant_id) as tx:
            held = self._read(tx, locked=True)
            if held.rejected:
                raise Unauthorized(REJECTED)
            if held.generation != stale:
                return held
            try:
                renewed = renewal(held.credentials)
            except Unauthorized as error:
                tx.run(self._reject())
                refused = error
            else:
                tx.run(self._replace(renewed))
                return Held(renewed, stale + 1)
        raise refused

    def _read(self, tx: Transaction, *, locked: bool) -> Held:
        found = tx.one(_stored(self._tenant_id, self._connector_id, locked=locked))
        if found is None:
            raise Misconfigured("The connector has no credentials, or was removed meanwhile.")
        sealed, generation, rejected = found
        text = self._envelope.open(credentials_place(self._tenant_id, self._connector_id), sealed)
        return Held(Credentials.from_json(json.loads(text)), generation, rejected)

    def _replace(self, renewed: Credentials) -> Statement[Any]:
        sealed = sealed_credentials(self._envelope, self._tenant_id, self._connector_id, renewed)
        return statement(
            "update hubblewave.connector_credentials set sealed = %s, generation = generation + 1,"
            " expires_at = %s, renewed_at = now() where tenant_id = %s and connector_id = %s",
            (sealed, renewed.expires_at, self._tenant_id, self._connector_id),
        )

    def _reject(self) -> Statement[Any]:
        return statement(
            "update hubblewave.connector_credentials set rejected = true"
            " where tenant_id = %s and connector_id = %s",
            (self._tenant_id, self._connector_id),
        )

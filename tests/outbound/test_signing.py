"""Credentials in use: every kind on the wire, and tokens renewed once, however many processes need them."""

import asyncio
import base64
import json
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

from hubblewave_pipelines.core import errors
from hubblewave_pipelines.core.bucket import Pace
from hubblewave_pipelines.core.credentials import Credentials
from hubblewave_pipelines.core.envelope import Envelope, new_key, read_key
from hubblewave_pipelines.outbound.manners import Manners
from hubblewave_pipelines.outbound.vault import MemoryVault
from hubblewave_pipelines.storage import connector_vault, connectors
from hubblewave_pipelines.storage.connector_budget import DatabaseBudget
from hubblewave_pipelines.storage.connector_vault import DatabaseVault
from hubblewave_pipelines.storage.database import Database
from hubblewave_pipelines.storage.tenants import Tenant
from tests.outbound.systems import OK, answering, base
from tests.plugins.receiver import Receiver, Request, receiving, reply
from tests.plugins.sessions import plain_session

MANNERS = Manners(token_path="/token")
REFRESH = {
    "kind": "refresh_token",
    "clientId": "c1",
    "clientSecret": "hush hush",
    "refreshToken": "r0",
}


class StrictVendor:
    """Each refresh token is good once, and only the newest access token is. Counts what it is asked."""

    def __init__(self, *, expires_in: int | None = None, slow: float = 0.0) -> None:
        self.lock = threading.Lock()
        self.generation = 0
        self.refreshes = 0
        self.reused = 0
        self.unauthorized = 0
        self.revoked = False
        self._expires_in, self._slow = expires_in, slow

    async def __call__(self, request: Request, writer: asyncio.StreamWriter) -> None:
        if request.path == "/token":
            await asyncio.sleep(self._slow)  # so that whoever else needs a token comes meanwhile
            await self._token(request, writer)
        elif request.headers.get("authorization") == f"Bearer access-{self.generation}":
            await OK(request, writer)
        else:
            self.unauthorized += 1
            await reply("401 No", b'[{"errorCode":"INVALID_SESSION_ID"}]')(request, writer)

    async def _token(self, request: Request, writer: asyncio.StreamWriter) -> None:
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        with self.lock:
            self.refreshes += 1
            if self.revoked or form["refresh_token"] != f"r{self.generation}":
                self.reused += 1
                await reply("400 Bad", b'{"error":"invalid_grant"}')(request, writer)
                return
            self.generation += 1
            granted: dict[str, object] = {
                "access_token": f"access-{self.generation}",
                "refresh_token": f"r{self.generation}",
            }
        if self._expires_in is not None:
            granted["expires_in"] = self._expires_in
        await reply(body=json.dumps(granted).encode())(request, writer)


def sent(system: Receiver) -> Request:
    return system.requests[-1]


def test_basic_bearer_and_keys_go_out_as_given() -> None:
    with answering(OK) as system:
        with plain_session(
            base(system), {"kind": "basic", "username": "ü:x", "password": "p:w"}
        ) as session:
            session.request("GET", "/x")
            assert base64.b64decode(sent(system).headers["authorization"][6:]).decode() == "ü:x:p:w"
        with plain_session(base(system), {"kind": "bearer", "token": "t0ken"}) as session:
            session.request("GET", "/x")
            assert sent(system).headers["authorization"] == "Bearer t0ken"
        key = {"kind": "api_key", "key": "k+1&2", "name": "X-Key", "prefix": "Token "}
        with plain_session(base(system), key) as session:
            session.request("GET", "/x")
            assert sent(system).headers["x-key"] == "Token k+1&2"
        with plain_session(base(system), {**key, "in": "query", "prefix": ""}) as session:
            session.request("GET", "/x", params={"a": "b"})
            assert sent(system).path == "/x?a=b&X-Key=k%2B1%262"


def test_a_password_that_is_refused_is_not_tried_again() -> None:
    with answering(reply("401 No")) as system:
        given = {"kind": "basic", "username": "u", "password": "wrong"}
        with plain_session(base(system), given) as session:
            with pytest.raises(errors.Unauthorized, match="Check the user"):
                session.request("GET", "/x")
            assert session.requests == 1


@pytest.mark.parametrize("kind", ["client_credentials", "password"])
def test_grants_are_asked_for_once_and_kept(kind: str) -> None:
    granted = reply(body=b'{"access_token":"abc","expires_in":1799}')
    given = {
        "kind": kind,
        "clientId": "c1",
        "clientSecret": "hush",
        "username": "u",
        "password": "pw",
    }
    with (
        answering(granted, OK) as system,
        plain_session(base(system), given, manners=MANNERS) as session,
    ):
        session.request("GET", "/1")
        session.request("GET", "/2")
    token, first, second = system.requests
    form = parse_qs(token.body.decode())
    assert form["grant_type"] == [kind]
    assert ("username" in form) == (kind == "password")
    assert first.headers["authorization"] == second.headers["authorization"] == "Bearer abc"
    assert session.requests == 3


def test_a_jwt_is_signed_for_the_token_endpoint() -> None:
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
    given = {
        "kind": "jwt_bearer",
        "clientId": "c1",
        "subject": "me@corp.example",
        "privateKey": pem,
    }
    with answering(reply(body=b'{"access_token":"abc"}'), OK) as system:
        with plain_session(base(system), given, manners=MANNERS) as session:
            session.request("GET", "/1")
            assert session.redacted(pem.splitlines()[3]) == "***"
    assertion = parse_qs(system.requests[0].body.decode())["assertion"][0]
    signed, _, signature = assertion.rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    key.public_key().verify(raw, signed.encode(), PKCS1v15(), hashes.SHA256())
    claims = json.loads(base64.urlsafe_b64decode(signed.partition(".")[2] + "=="))
    assert (claims["iss"], claims["sub"], claims["aud"]) == ("c1", "me@corp.example", base(system))
    assert 0 < claims["exp"] - datetime.now(UTC).timestamp() <= 180
    with answering(OK) as system:
        bad = {**given, "privateKey": "-----BEGIN nonsense"}
        with plain_session(base(system), bad, manners=MANNERS) as session:
            with pytest.raises(errors.Unauthorized, match="privateKey"):
                session.request("GET", "/1")


def test_an_expired_session_is_renewed_once_and_the_rotated_token_kept() -> None:
    vendor = StrictVendor()
    vault = MemoryVault(Credentials(REFRESH, access_token="access-old"))
    with receiving(vendor) as system:
        with plain_session(base(system), vault=vault, manners=MANNERS) as session:
            assert session.request("POST", "/x", json={}).status == 200
            vendor.generation = 1  # nothing has changed
            assert session.request("GET", "/x").status == 200
        assert (vendor.refreshes, vendor.unauthorized) == (1, 1)
        assert vault.held().credentials.given["refreshToken"] == "r1"
        assert vault.held().generation == 2


def test_a_401_after_a_refresh_is_the_end() -> None:
    granted = reply(body=b'{"access_token":"abc"}')
    with answering(reply("401 No"), granted, reply("401 No")) as system:
        vault = MemoryVault(Credentials(REFRESH, access_token="old"))
        with plain_session(base(system), vault=vault, manners=MANNERS) as session:
            with pytest.raises(errors.Unauthorized):
                session.request("GET", "/x")
            assert session.requests == 3


def test_a_token_about_to_expire_is_renewed_before_it_is_used() -> None:
    vendor = StrictVendor(expires_in=3600)
    soon = datetime.now(UTC) + timedelta(seconds=20)
    vault = MemoryVault(Credentials(REFRESH, access_token="access-0", expires_at=soon))
    with receiving(vendor) as system:
        with plain_session(base(system), vault=vault, manners=MANNERS) as session:
            session.request("GET", "/x")
    assert (vendor.refreshes, vendor.unauthorized) == (1, 0)


@pytest.mark.parametrize(
    ("answer", "error", "asked"),
    [
        (reply("400 Bad", b'{"error":"invalid_grant","error_description":"r0 hush hush"}'), errors.Unauthorized, 1),
        (reply("403 No", b'{"error":"unauthorized_client"}'), errors.Unauthorized, 1),
        (reply("500 Oops", b"<html>r0</html>"), errors.VendorUnavailable, 2),
        (reply("200 OK", b"<html>asleep</html>"), errors.VendorUnavailable, 2),
        (reply("200 OK", b"[]"), errors.VendorUnavailable, 2),
        (reply("302 Found", Location="http://127.0.0.1:1/steal"), errors.VendorUnavailable, 2),
    ],
    ids=["invalid_grant", "unauthorized_client", "500", "hibernating", "no_object", "redirect"],
)  # fmt: skip
def test_a_rejected_grant_is_never_asked_again(answer: object, error: type, asked: int) -> None:
    with answering(answer) as system:  # type: ignore[arg-type]
        with plain_session(base(system), REFRESH, manners=MANNERS) as session:
            for _ in range(2):
                with pytest.raises(error) as raised:
                    session.request("GET", "/x")
                assert "hush" not in str(raised.value)
    assert len(system.requests) == asked


@pytest.fixture
def connector(owner_database: Database, tenant: Tenant) -> uuid.UUID:
    connector_id = uuid.uuid4()
    with owner_database.transaction() as tx:
        tx.act_for(tenant.id)
        values = {"name": "CRM", "config": {"baseUrl": "http://127.0.0.1"}}
        tx.run(connectors.insert_connector(connector_id, tenant.id, "custom", uuid.uuid4(), values))
    return connector_id


KEY = new_key()


def store(
    database: Database, tenant: Tenant, connector: uuid.UUID, credentials: Credentials
) -> None:
    sealed = connector_vault.sealed_credentials(
        Envelope(read_key(KEY)), tenant.id, connector, credentials
    )
    assert "hush" not in sealed
    with database.transaction(tenant.id) as tx:
        tx.run(connector_vault.put_credentials(tenant.id, connector, credentials, sealed))


@pytest.fixture
def processes(
    database_url: str, tenant: Tenant, connector: uuid.UUID
) -> Iterator["list[subprocess.Popen[str]]"]:
    running: list[subprocess.Popen[str]] = []
    yield running
    for process in running:
        process.kill()
        process.wait()


def test_processes_that_need_a_token_at_once_refresh_it_once(
    worker_database: Database,
    database_url: str,
    tenant: Tenant,
    connector: uuid.UUID,
    processes: "list[subprocess.Popen[str]]",
) -> None:
    vendor = StrictVendor(slow=0.3)
    store(worker_database, tenant, connector, Credentials(REFRESH, access_token="access-old"))
    with ExitStack() as stack:
        system = stack.enter_context(receiving(vendor))
        for _ in range(2):
            arguments = [database_url, str(tenant.id), str(connector), KEY, base(system)]
            processes.append(
                subprocess.Popen(
                    [sys.executable, str(Path(__file__).with_name("refreshing.py")), *arguments],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        answers = [json.loads(process.communicate(timeout=60)[0]) for process in processes]
    assert [answer["answers"] for answer in answers] == [[200] * 3] * 2
    assert (vendor.refreshes, vendor.reused) == (1, 0)
    held = DatabaseVault(worker_database, Envelope(read_key(KEY)), tenant.id, connector).held()
    assert held.generation == 2
    assert held.credentials.given["refreshToken"] == "r1"


def test_a_rejected_generation_stays_rejected_for_all_until_new_credentials_come(
    worker_database: Database, tenant: Tenant, connector: uuid.UUID
) -> None:
    vendor = StrictVendor()
    vendor.revoked = True
    store(worker_database, tenant, connector, Credentials(REFRESH))

    def vault() -> DatabaseVault:
        return DatabaseVault(worker_database, Envelope(read_key(KEY)), tenant.id, connector)

    with receiving(vendor) as system:
        for _ in range(3):
            with plain_session(base(system), vault=vault(), manners=MANNERS) as session:
                with pytest.raises(errors.Unauthorized):
                    session.request("GET", "/x")
        assert vendor.refreshes == 1
        vendor.revoked = False
        store(worker_database, tenant, connector, Credentials(REFRESH))
        with plain_session(base(system), vault=vault(), manners=MANNERS) as session:
            assert session.request("GET", "/x").status == 200
    with pytest.raises(errors.Misconfigured, match="HUBBLEWAVE_SECRET_KEY"):
        DatabaseVault(worker_database, Envelope(read_key(new_key())), tenant.id, connector).held()


def test_processes_share_one_pace(
    worker_database: Database, tenant: Tenant, connector: uuid.UUID
) -> None:
    pace = Pace(rate=0.5, burst=4)
    ours, theirs = (DatabaseBudget(worker_database, tenant.id, connector, pace) for _ in range(2))
    assert [ours.take(), theirs.take(), ours.take(), theirs.take()] == [0.0] * 4
    waits = [theirs.take(), ours.take()]
    assert waits[0] > 0
    assert waits[1] > waits[0]
    ours.slow_down(600)
    assert theirs.take() > 590

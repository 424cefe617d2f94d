"""Processes that are killed, stopped or cut off: nothing committed is lost, little comes twice."""

import collections
import os
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import pytest

from hubblewave_pipelines.core.signature import new_secret
from hubblewave_pipelines.outbound.looking_up import AddressInfo
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage import tenants
from hubblewave_pipelines.storage.database import Database, Role
from hubblewave_pipelines.storage.ddl import define
from hubblewave_pipelines.storage.secret_keys import Secrets
from hubblewave_pipelines.storage.tenants import Tenant
from hubblewave_pipelines.storage.webhooks import put_secret, secret_place
from hubblewave_pipelines.supervisor.postgres import EmbeddedPostgres
from tests.delivery.resolving import answers
from tests.facade.conftest import api_process, make_key, settings_for
from tests.plugins.receiver import Receiver, receiving
from tests.plugins.stack import eventually
from tests.plugins.working import ALLOW, WorkerProcess, working
from tests.webhooks.conftest import (
    CONTACT,
    Switch,
    bodies,
    echo,
    emit,
    made,
    rows,
    run_sql,
    subscribe,
)

EVENTS = 1_000
LEASE = 2.0


def counted(receiver: Receiver) -> collections.Counter[int]:
    return collections.Counter(body["data"]["n"] for body in bodies(receiver))


@pytest.fixture
def short(settings: Settings) -> Settings:
    """Settings of workers whose leases end soon."""
    return settings.model_copy(update={"webhook_lease_seconds": LEASE})


def test_F1_three_kills_lose_nothing_and_repeat_no_more_than_was_in_flight(
    api: httpx.Client,
    receiver: Receiver,
    short: Settings,
    owner_database: Database,
    tenant: Tenant,
    tmp_path: Path,
) -> None:
    subscribe(api, receiver.url)
    emit(owner_database, tenant, EVENTS)
    worker = WorkerProcess(short, tmp_path / "log")
    for share in (1, 2, 3):
        worker.start()
        until = EVENTS * share // 5
        eventually(lambda n=until: len(bodies(receiver)) >= n, f"{until} were sent")  # type: ignore[misc]
        worker.kill()
    worker.start()
    pending = "select count(*) from hubblewave.webhook_deliveries"
    eventually(
        lambda: len(counted(receiver)) == EVENTS and rows(owner_database, pending) == [(0,)],
        "everything is delivered and nothing stuck",
    )
    assert worker.stop() == 0
    sent = counted(receiver)
    assert sorted(sent) == list(range(1, EVENTS + 1))
    # A delivery has its place until its result is committed, so a kill repeats no more than that.
    assert sum(sent.values()) - EVENTS <= 3 * short.webhook_endpoint_in_flight
    lost = rows(
        owner_database,
        "select count(*) from hubblewave.webhook_attempts where error_class = 'worker_lost'",
    )
    assert lost[0][0] >= sum(sent.values()) - EVENTS
    logged = "select count(*) from hubblewave.webhook_delivery_log where status = 'success'"
    assert rows(owner_database, logged) == [(EVENTS,)]


def test_F1_a_worker_that_is_asked_to_stop_finishes_or_gives_back_what_it_holds(
    api: httpx.Client,
    switch: Switch,
    receiver: Receiver,
    short: Settings,
    owner_database: Database,
    tenant: Tenant,
    tmp_path: Path,
) -> None:
    subscribe(api, receiver.url)
    worker = WorkerProcess(short, tmp_path / "log").start()
    emit(owner_database, tenant, 30)
    eventually(lambda: len(bodies(receiver)) == 30, "it is quick by now")
    switch.gate.clear()
    emit(owner_database, tenant, 100)
    eventually(lambda: switch.open == 10, "ten are in flight")
    worker.send(signal.SIGTERM)
    threading.Timer(0.5, switch.gate.set).start()
    assert worker.process.wait(60) == 0
    attempts = "select count(*) from hubblewave.webhook_attempts"
    assert rows(owner_database, attempts) == [(40,)]
    states = "select distinct state, attempt from hubblewave.webhook_deliveries"
    assert rows(owner_database, states) == [("due", 0)]
    assert len(bodies(receiver)) == 40


@pytest.mark.own_database  # whose sessions it leaves behind
def test_F2_a_killed_api_leaves_a_record_with_its_event_or_neither(
    api: httpx.Client,
    receiver: Receiver,
    settings: Settings,
    owner_database: Database,
    tenant: Tenant,
    data_dir: Path,
) -> None:
    subscribe(api, receiver.url, "contact.*")
    key = {"X-API-Key": make_key(owner_database, tenant)}
    with api_process(settings.require_database_url(), data_dir) as (url, _):

        def write() -> None:
            with httpx.Client(base_url=url, headers=key, timeout=5) as client:
                try:
                    for number in range(100_000):
                        client.post("/api/v1/contacts", json={"score": number})
                except httpx.TransportError:
                    return  # the process is gone, as it should be

        writers = [threading.Thread(target=write) for _ in range(4)]
        for writer in writers:
            writer.start()
        created = "select count(*) from hubblewave.events where type = 'contact.created'"
        eventually(lambda: rows(owner_database, created)[0][0] >= 40, "records are written")
        port = url.rpartition(":")[2]
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    command = (entry / "cmdline").read_bytes().split(b"\0")
                except OSError:
                    continue
                if b"uvicorn" in command and port.encode() in command:
                    os.kill(int(entry.name), signal.SIGKILL)
        for writer in writers:
            writer.join(30)
    open_ones = "select count(*) from pg_stat_activity where state <> 'idle' and query ~ 'insert'"
    eventually(
        lambda: rows(owner_database, open_ones + " and pid <> pg_backend_pid()") == [(0,)],
        "what was begun has ended",
    )
    page = made(api.get("/api/v1/contacts", params={"count": "exact", "pageSize": 1}), 200)
    keys = "select count(distinct ordering_key) from hubblewave.events"
    assert rows(owner_database, created)[0][0] == page["pageInfo"]["totalItems"]
    assert rows(owner_database, keys)[0][0] == page["pageInfo"]["totalItems"]


def test_F8_a_worker_that_stood_still_longer_than_its_lease_changes_nothing_afterwards(
    api: httpx.Client,
    switch: Switch,
    receiver: Receiver,
    short: Settings,
    owner_database: Database,
    tenant: Tenant,
    tmp_path: Path,
) -> None:
    subscribe(api, receiver.url)
    switch.gate.clear()
    emit(owner_database, tenant, 3)
    first = WorkerProcess(short, tmp_path / "first").start()
    eventually(lambda: switch.open == 3, "three are in flight")
    first.send(signal.SIGSTOP)
    switch.gate.set()
    with working(short):
        done = "select count(*) from hubblewave.webhook_delivery_log where status = 'success'"
        eventually(lambda: rows(owner_database, done) == [(3,)], "another worker sends them")
        first.send(signal.SIGCONT)
        emit(owner_database, tenant, 20)
        eventually(lambda: rows(owner_database, done) == [(23,)], "both go on")
        assert first.stop() == 0
    assert rows(owner_database, "select count(*) from hubblewave.webhook_deliveries") == [(0,)]
    ids = collections.Counter(request.headers["webhook-id"] for request in receiver.requests[1:])
    assert sorted(ids.values()) == [1] * 20 + [2] * 3
    lost = rows(
        owner_database,
        "select n, count(*) from hubblewave.webhook_attempts"
        " where error_class = 'worker_lost' group by n",
    )
    assert lost == [(1, 3)]


@pytest.mark.own_database  # with a trigger of its own
def test_F9_a_deadlock_that_is_run_again_writes_its_event_once(
    api: httpx.Client, receiver: Receiver, owner_database: Database, tenant: Tenant
) -> None:
    subscribe(api, receiver.url, "contact.*")
    ((table, schema),) = rows(
        owner_database,
        "select 'e_' || e.id, t.schema_name from hubblewave.entities e"
        " join hubblewave.tenants t on t.id = e.tenant_id",
    )
    run_sql(owner_database, "create sequence hubblewave.collisions")
    run_sql(
        owner_database,
        "create function hubblewave.collide() returns trigger language plpgsql security definer"
        " as $$ begin if nextval('hubblewave.collisions') = 1 then"
        " raise exception 'deadlock' using errcode = '40P01'; end if; return null; end $$",
    )
    run_sql(
        owner_database,
        f"create trigger zz_collide after insert on {schema}.{table}"
        " for each row execute function hubblewave.collide()",
    )
    made(api.post("/api/v1/contacts", json={"score": 1}))
    assert rows(owner_database, "select last_value from hubblewave.collisions") == [(2,)]
    assert rows(owner_database, "select type from hubblewave.events") == [("contact.created",)]


@pytest.fixture
def alone(own_server: EmbeddedPostgres, data_dir: Path) -> Iterator[tuple[Database, Tenant]]:
    """A tenant in a database whose server the test may end."""
    owner = Database(own_server.url("hubblewave"), Role.OWNER)
    with owner.transaction() as tx:
        tenant = tx.one(tenants.insert_tenant("default", "Default", "enterprise"))
        assert tenant is not None
        for step in tenants.create_schema(tenant):
            tx.run(step)
    define(owner, tenant, CONTACT)
    yield owner, tenant
    owner.close()


def test_F3_a_server_that_ends_at_once_and_comes_back_loses_nothing(
    alone: tuple[Database, Tenant], own_server: EmbeddedPostgres, data_dir: Path
) -> None:
    owner, tenant = alone
    settings = settings_for(
        own_server.url("hubblewave"), data_dir, egress_allow=ALLOW, webhook_lease_seconds=LEASE
    )
    with receiving(echo) as receiver, working(settings):
        run_sql(
            owner,
            "insert into hubblewave.webhooks (tenant_id, name, url, events, verified_at)"
            " values (%s, 'n', %s, '{*}', now())",
            tenant.id,
            receiver.url,
        )
        run_sql(
            owner,
            "insert into hubblewave.webhook_health (tenant_id, webhook_id)"
            " select tenant_id, id from hubblewave.webhooks",
        )
        ((hook,),) = rows(owner, "select id from hubblewave.webhooks")
        sealed = Secrets(settings).envelope.seal(secret_place(tenant.id, hook), new_secret())
        with owner.transaction() as tx:
            tx.run(put_secret(tenant.id, hook, 0, sealed=sealed, prefix="x", fingerprint="x"))
        emit(owner, tenant, EVENTS)
        eventually(lambda: len(bodies(receiver)) > 100, "some are sent")
        assert own_server.pid is not None
        os.kill(own_server.pid, signal.SIGQUIT)  # what `pg_ctl stop -m immediate` sends
        eventually(lambda: not own_server.alive(), "the server has ended")
        own_server.start()
        eventually(lambda: len(counted(receiver)) == EVENTS, "all are delivered", seconds=90)
        pending = "select count(*) from hubblewave.webhook_deliveries"
        eventually(lambda: rows(owner, pending) == [(0,)], "nothing is stuck", seconds=90)


def test_F12_W3_a_name_that_fails_then_leads_inside_is_told_by_class_and_tried_again(
    api: httpx.Client,
    receiver: Receiver,
    settings: Settings,
    owner_database: Database,
    tenant: Tenant,
) -> None:
    hook = subscribe(api, receiver.url, retryConfig={"maxAttempts": 20, "backoffMultiplier": 1})
    url = receiver.url.replace("127.0.0.1", "moving.example")
    run_sql(owner_database, "update hubblewave.webhooks set url = %s", url)
    seen: list[str] = []

    def lookup(host: str, port: int) -> Sequence[AddressInfo]:
        seen.append(host)
        if len(seen) == 1:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        if len(seen) == 2:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        inside = ["169.254.169.254"], ["127.0.0.1", "127.0.0.2"]
        return answers(*(inside[len(seen) - 3] if len(seen) <= 4 else ["127.0.0.1"]))(host, port)

    with working(settings, lookup=lookup):
        emit(owner_database, tenant, 1)
        eventually(lambda: len(bodies(receiver)) == 1, "delivered once the name leads there again")
        classes = "select error_class from hubblewave.webhook_attempts order by started_at, n"
        eventually(lambda: len(rows(owner_database, classes)) == 5, "five attempts")
    found = rows(owner_database, classes)
    assert found == [("dns",), ("dns",), ("blocked",), ("blocked",), (None,)]
    assert set(seen) == {"moving.example"}
    (item,) = made(api.get(f"/api/v1/webhooks/{hook['id']}/deliveries"), 200)["items"]
    told = api.get(f"/api/v1/webhooks/deliveries/{item['id']}").text
    assert not any(inner in told for inner in ("169.254", "127.0.0.2"))

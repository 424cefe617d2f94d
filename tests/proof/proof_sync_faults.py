"""Every fault at every request of every vendor, and a kill at every request and every commit.

A scenario (first sync, changes in the other system, what is new, a window again) is run once per
case against a sandbox of its own; what fails or dies is started again as the platform would. After
each case both sides must be equal, nothing doubled, coverage whole, and a further run must write
nothing. Prints how many cases ran, by vendor and fault. `--vendor`, `--every N` (a sample).
"""

import argparse
import os
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path

from hubblewave_pipelines.sandboxes.faults import Fault, FaultKind
from hubblewave_pipelines.storage import tenants
from hubblewave_pipelines.storage.database import Database, Role
from hubblewave_pipelines.storage.ddl import define
from hubblewave_pipelines.storage.migrate import migrate
from hubblewave_pipelines.supervisor.postgres import EmbeddedPostgres
from tests.sync.conftest import DEAL, Syncing
from tests.sync.vendors import RIGS, Rig, clean, scenario


def _syncing(url: str, slug: str) -> Syncing:
    owner, worker = Database(url, Role.OWNER), Database(url, Role.WORKER)
    with owner.transaction() as tx:
        tenant = tx.one(tenants.insert_tenant(slug, slug.title(), "enterprise"))
        assert tenant is not None
        for step in tenants.create_schema(tenant):
            tx.run(step)
    return Syncing(owner, worker, tenant, define(owner, tenant, DEAL))


def _vendor(rig: Rig, syncing: Syncing, every: int) -> Counter[str]:
    ran: Counter[str] = Counter()
    requests, commits, runs = clean(rig, syncing)
    print(
        f"{rig.vendor}: {requests} requests and {commits} commits in a clean scenario", flush=True
    )
    cases = [(kind, number) for kind in FaultKind for number in range(1, requests + 1)]
    for kind, number in cases[::every]:
        with scenario(rig, syncing, Fault(kind, request=number, seconds=0.02)) as made:
            try:
                made.play()
                made.check()
            except BaseException:
                print(f"FAILED: {rig.vendor} {kind} at request {number}: {made.failures}")
                raise
            befell = bool(made.running.sandbox.faults.applied)
        ran[f"{kind}" if befell else f"{kind} (had nothing to befall)"] += 1
    for number in range(1, runs[0].requests, every):
        for where in ("before", "after"):
            with scenario(rig, syncing, dies=(number, where)) as made:
                made.play()
                made.check()
            ran[f"killed {where} request"] += 1
    for number in range(1, commits + 1, every):
        with scenario(rig, syncing, commits=number) as made:
            made.play()
            made.check()
        ran["killed before commit"] += 1
    return ran


def _real_kills(url: str, rounds: int) -> int:
    """`kill -9` of a process at work on a sync, at a moment of chance; the next one goes on."""
    killed = 0
    for number in range(rounds):
        syncing = _syncing(url, f"kill{number}")
        with scenario(RIGS["salesforce"], syncing) as made:
            made.settle()
            run_id = syncing.ask(made.job)
            child = os.fork()
            if child == 0:
                fresh = Syncing(
                    Database(url, Role.OWNER),
                    Database(url, Role.WORKER),
                    syncing.tenant,
                    syncing.catalog,
                )
                made.syncing = fresh
                fresh.execute(run_id, connect=made.connect)
                os._exit(0)
            time.sleep(0.01 * (number % 25))
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            killed += os.WIFSIGNALED(status)
            syncing.execute(run_id, connect=made.connect)
            made.check()
    return killed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vendor", choices=sorted(RIGS))
    parser.add_argument("--every", type=int, default=1, help="one case of so many")
    parser.add_argument("--kills", type=int, default=50)
    asked = parser.parse_args()
    began, total = time.monotonic(), 0
    with tempfile.TemporaryDirectory() as directory:
        postgres = EmbeddedPostgres(Path(directory) / "postgres", options={"fsync": "off"})
        postgres.start()
        try:
            url = postgres.url("hubblewave")
            migrate(url)
            for name in [asked.vendor] if asked.vendor else sorted(RIGS):
                ran = _vendor(RIGS[name], _syncing(url, name), asked.every)
                for kind, count in sorted(ran.items()):
                    print(f"  {count:5} {kind}")
                print(f"{name}: {ran.total()} cases, both sides equal after each", flush=True)
                total += ran.total()
            killed = _real_kills(url, asked.kills)
            print(
                f"kill -9: {killed} of {asked.kills} processes died at work, each was made up for"
            )
        finally:
            postgres.stop()
    print(f"{total} cases in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()

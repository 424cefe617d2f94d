"""Proof of F18: ten times the events for ten minutes. The queue's age grows and falls back; memory stays flat.

A worker gets `--rate` events a second for a minute, ten times as many for ten minutes, then the first
rate again until it has caught up. Every two seconds it is noted how old the oldest due delivery is and
what the worker holds. `python -m tests.proof.proof_webhook_surge [--rate N] [--calm S] [--surge S]`.
"""

import argparse
import json
import statistics
import time

from hubblewave_pipelines.storage.database import Database, Role, statement
from tests.bench.bench_webhooks import platform, receiver
from tests.plugins.working import WorkerProcess
from tests.proof.proof_webhook_kills import resident

TENFOLD, TICK, PATIENCE = 10, 2.0, 1800.0
AGE = (
    "select coalesce(extract(epoch from now() - min(occurred_at)), 0)::float8 from ("
    "select occurred_at from hubblewave.webhook_deliveries union all"
    " select occurred_at from hubblewave.events where fanned_at is null) waiting"
)
EMIT = (
    "insert into hubblewave.events (tenant_id, type, ordering_key, data)"
    " select t.id, 'import.completed', g::text, json_build_object('n', g, 'text', repeat('x', 500))"
    " from hubblewave.tenants t, generate_series(1, %s) g"
)


def main(rate: int, calm: float, surge: float) -> None:
    with platform("Contact") as found, receiver() as target:
        found.client.post(
            "/api/v1/webhooks", json={"url": f"{target.url}/hook", "events": ["import.completed"]}
        ).raise_for_status()
        owner = Database(found.settings.require_database_url(), Role.OWNER)
        worker = WorkerProcess(found.settings, found.folder / "worker.log").start()
        ages: dict[str, list[float]] = {"calm": [], "surge": [], "after": []}
        memory: dict[str, list[int]] = {"calm": [], "surge": [], "after": []}
        emitted = 0

        def tick(phase: str, count: int) -> float:
            nonlocal emitted
            began = time.monotonic()
            with owner.transaction() as tx:
                emitted += tx.run(statement(EMIT, (count,)))
            assert worker.process.poll() is None, "the worker ended without our doing"
            with owner.transaction() as tx:
                ((age,),) = tx.all(statement(AGE))
            ages[phase].append(age)
            memory[phase].append(resident(worker.process.pid))
            time.sleep(max(0.0, TICK - (time.monotonic() - began)))
            return float(age)

        for phase, seconds, each in (("calm", calm, rate), ("surge", surge, rate * TENFOLD)):
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                tick(phase, round(each * TICK))
        usual = max(2 * TICK, 2 * statistics.median(ages["calm"]))
        ended = time.monotonic()
        while tick("after", round(rate * TICK)) > usual:
            assert time.monotonic() - ended < PATIENCE, "the queue did not fall back"
        caught_up = time.monotonic() - ended
        target.wait_for(emitted, seconds=PATIENCE)
        delivered = target.seen()[0]
        worker.stop()
        owner.close()
    held = {phase: max(found) for phase, found in memory.items()}
    half = memory["surge"][len(memory["surge"]) // 2 :]
    summary = {
        "proof": "webhook_surge",
        "rate": rate,
        "surge_rate": rate * TENFOLD,
        "surge_seconds": round(surge),
        "events": emitted,
        "delivered": delivered,
        "oldest_seconds": {phase: round(max(found), 1) for phase, found in ages.items()},
        "caught_up_seconds": round(caught_up, 1),
        "worker_mb": held,
    }
    print(json.dumps(summary))
    assert delivered == emitted, "an event is missing, or came twice without a kill"
    # Flat: what is leased is bounded, so the second half of a surge holds no more than the first.
    assert max(half) <= 1.25 * max(memory["surge"][: len(memory["surge"]) // 2]) + 16, half


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=100)
    parser.add_argument("--calm", type=float, default=60)
    parser.add_argument("--surge", type=float, default=600)
    asked = parser.parse_args()
    main(asked.rate, asked.calm, asked.surge)

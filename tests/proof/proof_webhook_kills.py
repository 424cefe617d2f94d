"""Proof: kill -9 of the delivery worker at random moments loses no event and repeats few.

20,000 events to four webhooks, 20 kills; counts what receivers saw by event, and what the log says
of every attempt whose worker died. `python -m tests.proof.proof_webhook_kills [kills] [events]`.
"""

import collections
import json
import random
import sys
import time
from pathlib import Path

from hubblewave_pipelines.storage.database import Database, Role, statement
from tests.bench.bench_webhooks import platform
from tests.plugins.receiver import Receiver
from tests.plugins.working import WorkerProcess
from tests.webhooks.conftest import echo

LEASE = 3.0
WEBHOOKS = 4
PATIENCE = 900.0


def resident(pid: int) -> int:
    """MB that a process holds; 0 when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("VmRSS")), 0)


def main(kills: int, events: int, seed: int) -> None:
    rng = random.Random(seed)
    started = time.monotonic()
    with platform("Contact") as found:
        receivers = [Receiver(echo) for _ in range(WEBHOOKS)]
        for receiver in receivers:
            receiver.__enter__()
            found.subscribe(receiver.url, "Contacts")
        found.create("Contacts", events)
        owner = Database(found.settings.require_database_url(), Role.OWNER)

        def count(text: str) -> int:
            with owner.transaction() as tx:
                return int((tx.one(statement(text)) or (0,))[0])

        def seen() -> int:
            return sum(len(receiver.requests) for receiver in receivers) - WEBHOOKS

        log = found.folder / "worker.log"
        worker = WorkerProcess(found.settings, log, webhook_lease_seconds=LEASE)
        wanted, largest = events * WEBHOOKS, 0
        for number in range(1, kills + 1):
            until = wanted * number // (kills + 2)
            worker.start()
            deadline = time.monotonic() + PATIENCE
            while seen() < until:
                assert time.monotonic() < deadline, f"{seen()} of {until}"
                assert worker.process.poll() is None, "the worker ended without our doing"
                time.sleep(0.02)
            time.sleep(rng.uniform(0, 0.3))
            largest = max(largest, resident(worker.process.pid))
            worker.kill()
        in_flight = WEBHOOKS * found.settings.webhook_endpoint_in_flight
        worker.start()
        deadline = time.monotonic() + PATIENCE
        waiting = (
            "select (select count(*) from hubblewave.webhook_deliveries)"
            " + (select count(*) from hubblewave.events where fanned_at is null)"
        )
        while count(waiting):
            assert time.monotonic() < deadline, "not drained"
            time.sleep(0.2)
        largest = max(largest, resident(worker.process.pid))
        assert worker.stop() == 0
        repeated, lost = 0, 0
        for receiver in receivers:
            ids = collections.Counter(r.headers["webhook-id"] for r in receiver.requests[1:])
            lost += events - len(ids)
            repeated += sum(ids.values()) - len(ids)
        closed = count(
            "select count(*) from hubblewave.webhook_attempts where error_class = 'worker_lost'"
        )
        never = count("select count(*) from hubblewave.webhook_attempts where ended_at is null")
        counted = count("select count(*) from hubblewave.webhook_attempts")
        for receiver in receivers:
            receiver.__exit__()
        owner.close()
    summary = {
        "proof": "webhook_kills",
        "kills": kills,
        "events": events,
        "deliveries": wanted,
        "lost": lost,
        "repeated": repeated,
        "begun_and_not_recorded_at_most": in_flight,
        "repeated_at_most": in_flight * kills,
        "attempts_closed_as_worker_lost": closed,
        "attempts_never_closed": never,
        "attempts_logged": counted,
        "largest_worker_mb": largest,
        "seed": seed,
        "seconds": round(time.monotonic() - started),
    }
    print(json.dumps(summary))
    assert lost == 0, "an event was lost"
    assert never == 0, "an attempt has no end"
    assert counted == wanted + closed, "an attempt of a dead worker is not told"
    assert repeated <= closed, "a repeat that no lost attempt explains"
    assert repeated <= in_flight * kills, "more came twice than was in flight"


if __name__ == "__main__":
    asked = [int(word) for word in sys.argv[1:3]]
    main(*(asked + [20, 20_000][len(asked) :]), random.randrange(2**32))

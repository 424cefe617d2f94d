"""Proof: an import with `update` of 200,000 rows, shot at in every part of the platform, ends as ever.

Each round starts from the same table, uploads the same file and kills, at a random moment between
the upload's first byte and the usual end, one of: the run's process (SIGKILL), the API (SIGKILL), or
PostgreSQL (SIGQUIT, its immediate stop). The client sends its upload again under the same
Idempotency-Key until it is accepted, and follows it to the end. Then the table must equal that of
the undisturbed import, no key may be there twice, and the counts must be the undisturbed ones.
"""

import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg

from tests.bench.bench_import import ITEM, write_file
from tests.plugins.stack import Up
from tests.proof.proof_kill_import import run_processes

ROWS = 200_000
PATIENCE = 300  # seconds for a killed import to recover
OPTIONS = {"uniqueFields": ["code"], "duplicateStrategy": "update", "batchSize": 20_000}
COUNTS = ("totalRecords", "createdRecords", "updatedRecords", "unchangedRecords", "failedRecords")


class Rounds:
    """One platform, one entity, and the table each round begins with."""

    def __init__(self, up: Up, directory: Path) -> None:
        self.up = up
        self.base, self.changed = directory / "base.csv", directory / "changed.csv"
        write_file(self.base, ROWS)
        write_file(self.changed, ROWS, changed=True)
        made = self.client().post("/api/v1/entities", json=ITEM)
        made.raise_for_status()
        with self.database() as connection:
            row = connection.execute(
                "select t.schema_name, e.id from hubblewave.entities e"
                " join hubblewave.tenants t on t.id = e.tenant_id where e.name = 'Item'"
            ).fetchone()
            assert row is not None
            self.table, self.history = f"{row[0]}.e_{row[1]}", f"{row[0]}.h_{row[1]}"
            listed = connection.execute(
                "select string_agg(attname, ', ' order by attname) from pg_attribute"
                f" where attrelid = '{self.table}'::regclass and attname ~ '^c_'"
            ).fetchone()
            assert listed is not None
            self.columns = listed[0]

    def client(self) -> httpx.Client:
        return httpx.Client(
            base_url=self.up.ready["api_url"], headers={"X-API-Key": self.up.api_key}, timeout=60
        )

    def database(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.up.ready["database_url"])

    def keep(self) -> None:
        """What the table holds now is what each round begins with."""
        with self.database() as connection:
            connection.execute(f"create table public.kept as select * from {self.table}")

    def reset(self) -> None:
        with self.database() as connection:
            connection.execute(f"truncate {self.table}, {self.history} cascade")
            connection.execute(f"insert into {self.table} select * from public.kept")

    def fingerprint(self) -> tuple[int, int, str]:
        """Rows, different keys, and a digest of values and versions in no order."""
        with self.database() as connection:
            row = connection.execute(
                f"select count(*), count(distinct id), md5(string_agg(d, '' order by d)) from"
                f" (select id, md5(row({self.columns}, version)::text) d from {self.table}) rows"
            ).fetchone()
            assert row is not None
            return row

    def send(self, path: Path, key: str) -> dict[str, Any]:
        """Upload until it is accepted, as a client does whose server comes and goes."""
        until = time.monotonic() + PATIENCE
        form = {"entity": "Item", "options": json.dumps(OPTIONS)}
        while True:
            assert time.monotonic() < until, "the upload was never accepted"
            try:
                with self.client() as client, path.open("rb") as content:
                    answer = client.post(
                        "/api/v1/imports",
                        data=form,
                        files={"file": (path.name, content)},
                        headers={"Idempotency-Key": key},
                    )
            except httpx.TransportError:
                time.sleep(0.2)
                continue
            if answer.status_code == 202:
                accepted: dict[str, Any] = answer.json()
                return accepted
            assert answer.status_code in (409, 503), answer.text
            time.sleep(0.5)

    def follow(self, job_id: str, kind: str = "imports") -> dict[str, Any]:
        until = time.monotonic() + PATIENCE
        while True:
            assert time.monotonic() < until, f"{kind}/{job_id} did not end"
            try:
                with self.client() as client:
                    answer = client.get(f"/api/v1/{kind}/{job_id}")
            except httpx.TransportError:
                answer = None
            if answer is not None and answer.status_code == 200:
                job: dict[str, Any] = answer.json()
                if job["status"] not in ("pending", "processing"):
                    return job
            time.sleep(0.2)

    def shoot(self, target: str) -> bool:
        """Whether anybody was hit."""
        if target == "run":
            victims, how = run_processes(self.up.process.pid), signal.SIGKILL
        elif target == "api":
            victims, how = self.up.pids("uvicorn"), signal.SIGKILL
        else:
            data = (self.up.data_dir / "postgres" / "data" / "postmaster.pid").read_text()
            victims, how = [int(data.splitlines()[0])], signal.SIGQUIT
        for pid in victims:
            try:
                os.kill(pid, how)
            except ProcessLookupError:
                victims = []
        return bool(victims)


@contextmanager
def shooting(rounds: Rounds, target: str, moment: float) -> Iterator[list[bool]]:
    """Shoots `moment` seconds after the block began; the list says whether somebody was hit."""
    hits: list[bool] = []

    def fire() -> None:
        time.sleep(moment)
        until = time.monotonic() + 5
        while not (hit := rounds.shoot(target)) and time.monotonic() < until:
            time.sleep(0.02)
        hits.append(hit)

    shooter = threading.Thread(target=fire)
    shooter.start()
    try:
        yield hits
    finally:
        shooter.join()


def run(rounds: Rounds, target: str, moment: float) -> tuple[dict[str, Any], bool]:
    """One disturbed import: the job at its end, and whether the shot hit something at work."""
    with shooting(rounds, target, moment) as hits:
        accepted = rounds.send(rounds.changed, uuid.uuid4().hex)
        job = rounds.follow(accepted["id"])
    return job, any(hits)


def main(count: int, seed: int) -> None:
    rng, started = random.Random(seed), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="hw-proof-") as name:
        up = Up(Path(name) / "data", {"HUBBLEWAVE_RATE_LIMITS": '{"enterprise": 10000000}'})
        try:
            up.start()
            up.wait_ready()
            rounds = Rounds(up, Path(name))
            rounds.follow(rounds.send(rounds.base, uuid.uuid4().hex)["id"])
            rounds.keep()
            begun = time.monotonic()
            clean = rounds.follow(rounds.send(rounds.changed, uuid.uuid4().hex)["id"])
            span = time.monotonic() - begun
            expected = rounds.fingerprint()
            assert clean["status"] == "completed", clean
            print(
                f"undisturbed: {expected[0]:,} rows in {span:.1f} s, {clean['updatedRecords']:,} updated"
            )
            hits = dict.fromkeys(("run", "api", "postgres"), 0)
            for number in range(count):
                target = ("run", "api", "postgres")[number % 3]
                rounds.reset()
                moment = rng.uniform(0, span)
                begun = time.monotonic()
                job, hit = run(rounds, target, moment)
                hits[target] += hit
                found = rounds.fingerprint()
                print(
                    f"round {number + 1:>2}: {target:8} after {moment:4.1f} s,"
                    f" {'hit' if hit else 'late'}, {job['status']}, total {time.monotonic() - begun:.1f} s"
                )
                assert found == expected, (found, expected)
                assert {c: job[c] for c in COUNTS} == {c: clean[c] for c in COUNTS}, job
        finally:
            up.stop()
    summary = {
        "proof": "kill_update",
        "rounds": count,
        "hits": hits,
        "rows": ROWS,
        "differences": 0,
        "seed": seed,
        "seconds": round(time.monotonic() - started),
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20, random.randrange(2**32))

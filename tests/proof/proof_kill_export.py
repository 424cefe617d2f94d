"""Proof: an export of 200,000 rows, shot at in every part of the platform, is published whole or not.

Each round asks for the same sorted export and kills, at a random moment between the question and the
usual end, one of: the run's process (SIGKILL), the API (SIGKILL), or PostgreSQL (SIGQUIT). The export
must end as completed with the bytes of the undisturbed one. Meanwhile whoever looks into the folder
of finished files must never find one that is not whole, and every promised one must be there.
"""

import hashlib
import json
import random
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import httpx

from tests.plugins.stack import Up
from tests.proof.proof_kill_update import PATIENCE, ROWS, Rounds, shooting

ASKED = {"entity": "Item", "sort": "code", "fields": ["code", "name", "price", "seen", "note"]}
FORMATS = ("csv", "ndjson", "parquet")


class Looker:
    """Reads every finished file as soon as it can be seen, until it is stopped."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seen: dict[str, str] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _look(self) -> None:
        while not self._stopped.wait(0.01):
            for path in self.folder.glob("*"):
                if path.suffix != ".tmp" and path.name not in self.seen:
                    self.seen[path.name] = digest(path)

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def ask(rounds: Rounds, format: str) -> dict[str, Any]:
    """Ask until it is accepted, as a client does whose server comes and goes."""
    key, until = uuid.uuid4().hex, time.monotonic() + PATIENCE
    while True:
        assert time.monotonic() < until, "the export was never accepted"
        try:
            with rounds.client() as client:
                answer = client.post(
                    "/api/v1/exports",
                    json={**ASKED, "format": format},
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


def done(rounds: Rounds, format: str) -> dict[str, Any]:
    return rounds.follow(ask(rounds, format)["id"], "exports")


def main(count: int, seed: int) -> None:
    rng, started = random.Random(seed), time.monotonic()
    hits = dict.fromkeys(("run", "api", "postgres"), 0)
    with tempfile.TemporaryDirectory(prefix="hw-proof-") as name:
        up = Up(Path(name) / "data", {"HUBBLEWAVE_RATE_LIMITS": '{"enterprise": 10000000}'})
        looker = None
        try:
            up.start()
            up.wait_ready()
            rounds = Rounds(up, Path(name))
            rounds.follow(rounds.send(rounds.base, uuid.uuid4().hex)["id"])
            looker = Looker(up.data_dir / "spool" / "exports")
            clean, spans = {}, {}
            for format in FORMATS:
                begun = time.monotonic()
                clean[format] = done(rounds, format)
                spans[format] = time.monotonic() - begun
                assert clean[format]["totalRecords"] == ROWS, clean[format]
            print("undisturbed:", ", ".join(f"{f} in {s:.1f} s" for f, s in spans.items()))
            for number in range(count):
                target, format = tuple(hits)[number % 3], FORMATS[number // 3 % 3]
                moment, begun = rng.uniform(0, spans[format]), time.monotonic()
                with shooting(rounds, target, moment) as shot:
                    job = done(rounds, format)
                hits[target] += any(shot)
                print(
                    f"round {number + 1:>2}: {target:8} {format:7} after {moment:4.1f} s,"
                    f" {'hit' if any(shot) else 'late'}, {job['status']},"
                    f" total {time.monotonic() - begun:.1f} s",
                    flush=True,
                )
                assert job["status"] == "completed", job
                for fact in ("sha256", "totalRecords", "fileSize"):
                    assert job[fact] == clean[format][fact], (fact, job, clean[format])
            looker.stop()
            whole = {one["sha256"] for one in clean.values()}
            assert set(looker.seen.values()) == whole, "a finished file was not whole"
            with rounds.database() as connection:
                kept = connection.execute(
                    "select file_path, encode(file_sha256, 'hex') from hubblewave.export_jobs"
                    " where status = 'completed'"
                ).fetchall()
            assert all(digest(Path(path)) == sha for path, sha in kept)
            promised = {Path(path).name for path, _ in kept}
            strays = set(looker.seen) - promised
        finally:
            if looker is not None:
                looker.stop()
            up.stop()
    summary = {
        "proof": "kill_export",
        "rounds": count,
        "hits": hits,
        "rows": ROWS,
        "differences": 0,
        "finished_files_seen": len(looker.seen),
        "of_these_not_promised": len(strays),  # killed between rename and commit; removed in a day
        "seed": seed,
        "seconds": round(time.monotonic() - started),
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20, random.randrange(2**32))

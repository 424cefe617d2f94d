"""A tenant of 1,000 entities: the first request after a definition changed, memory, the document.

Run it with `python -m tests.bench.bench_many_entities [--entities N] [--changes N]`; prints a table
and a JSON line. The API is a process of its own; each change is another version of the catalog,
asked for at once by a list of records, by which the process has to read every definition anew.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from hubblewave_pipelines.core.identity import new_api_key
from hubblewave_pipelines.storage import tenants
from hubblewave_pipelines.storage.database import Database, Role, statement
from hubblewave_pipelines.storage.ddl import define
from hubblewave_pipelines.storage.migrate import migrate
from hubblewave_pipelines.supervisor.postgres import EmbeddedPostgres
from tests.facade.conftest import api_process

TARGET_MS = 100.0
REAL = 10  # entities that have tables; the others are read as definitions alone, which is all of
# them that a request for another entity touches
_COPY = """
insert into hubblewave.entities (id, tenant_id, slug, name, definition)
select translate(substr(md5(i::text), 1, 8), '0123456789', 'ghijklmnop'), tenant_id, 'things' || i, 'Thing' || i,
       definition || jsonb_build_object('slug', 'things' || i,
         'name', 'Thing' || i, 'pluralName', 'Things' || i)
from hubblewave.entities, generate_series(%s + 0, %s) i where name = %s
"""


def definition(number: int) -> dict[str, Any]:
    """Ten fields, and a reference to the entity before."""
    before = [{"name": "before", "type": "manyToOne", "targetEntity": f"Thing{number - 1}"}]
    return {
        "name": f"Thing{number}",
        "pluralName": f"Things{number}",
        "description": f"The things of kind {number}.",
        "fields": [
            {"name": "code", "type": "text", "required": True, "unique": True, "maxLength": 40},
            {"name": "name", "type": "text", "description": "What it is called."},
            {"name": "status", "type": "enum", "enum": ["new", "open", "done"], "default": "new"},
            {"name": "size", "type": "integer", "min": 0, "max": 1000},
            {"name": "price", "type": "decimal", "min": 0},
            {"name": "weight", "type": "number"},
            {"name": "active", "type": "boolean"},
            {"name": "bornOn", "type": "date"},
            {"name": "seenAt", "type": "datetime"},
            {"name": "mail", "type": "email"},
        ],
        "relationships": before if number else [],
    }


def prepare(url: str, count: int) -> str:
    """A migrated database with the tenant; an API key."""
    migrate(url)
    owner, key = Database(url, Role.OWNER), new_api_key()
    with owner.transaction() as tx:
        tenant = tx.one(tenants.insert_tenant("bench", "Bench", "enterprise"))
        assert tenant is not None
        for step in tenants.create_schema(tenant):
            tx.run(step)
        named: dict[str, Any] = {"name": "bench", "scopes": ["admin"], "plan": None}
        tx.run(tenants.insert_key(tenant.id, key, **named, expires_at=None, created_by=None))
    define(owner, tenant, *(definition(number) for number in range(REAL)))
    with owner.transaction() as tx:
        tx.run(statement(_COPY, (REAL, count - 1, f"Thing{REAL - 1}")))
    owner.close()
    return key.text


def touch(owner: Database, number: int) -> None:
    """Another definition of one entity and another version of the catalog, as a change leaves it."""
    said = json.dumps(f"changed {number}")
    with owner.transaction() as tx:
        tx.run(
            statement(
                "update hubblewave.entities set definition ="
                " jsonb_set(definition, '{description}', %s::jsonb) where name = 'Thing7'",
                (said,),
            )
        )
        tx.run(statement("update hubblewave.tenants set catalog_version = catalog_version + 1"))


def api_memory(port: str) -> float:
    """Megabytes held by the process that listens, by its command line."""
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            command = (status.parent / "cmdline").read_bytes().decode().split("\0")
            if "api.app:create_app" in command and port in command:
                text = status.read_text()
                return int(text.partition("VmRSS:")[2].split()[0]) / 1024
        except OSError:
            continue
    raise AssertionError("the API's process is not found")


def timed(client: httpx.Client, path: str) -> tuple[float, httpx.Response]:
    """Milliseconds and the answer."""
    started = time.perf_counter()
    answer = client.get(path)
    took = (time.perf_counter() - started) * 1000
    assert answer.status_code == 200, answer.text
    return took, answer


def main() -> None:
    parser = argparse.ArgumentParser(description="A tenant of many entities.")
    parser.add_argument("--entities", type=int, default=1000)
    parser.add_argument("--changes", type=int, default=60)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        postgres = EmbeddedPostgres(Path(name) / "postgres")
        postgres.start()
        try:
            url = postgres.url("hubblewave")
            key = prepare(url, asked.entities)
            with api_process(url, Path(name)) as (base, _):
                measure(url, base, key, asked.changes, asked.entities)
        finally:
            postgres.stop()


def measure(url: str, base: str, key: str, changes: int, entities: int) -> None:
    owner = Database(url, Role.OWNER)
    port, path = base.rsplit(":", 1)[1], "/api/v1/things5?pageSize=1"
    with httpx.Client(base_url=base, headers={"X-API-Key": key}, timeout=120) as client:
        cold, _ = timed(client, path)
        steady = statistics.median(timed(client, path)[0] for _ in range(30))
        held, first = [api_memory(port)], []
        for number in range(changes):
            touch(owner, number)
            first.append(timed(client, path)[0])
            held.append(api_memory(port))
        document_ms, document = timed(client, "/api/v1/openapi.json")
        again_ms, _ = timed(client, "/api/v1/openapi.json")
        part_ms, part = timed(client, "/api/v1/openapi.json?entity=Thing7")
    owner.close()
    figures = {
        "bench": "many_entities",
        "entities": entities,
        "process_first_ms": round(cold, 1),
        "steady_ms": round(steady, 1),
        "after_change_p50_ms": round(statistics.median(first), 1),
        "after_change_max_ms": round(max(first), 1),
        "target_ms": TARGET_MS,
        "memory_mb": round(held[0]),
        "memory_after_half_mb": round(held[len(held) // 2]),
        "memory_after_all_mb": round(held[-1]),
        "document_mb": round(len(document.content) / 1e6, 1),
        "document_sent_mb": round(document.num_bytes_downloaded / 1e6, 2),
        "document_ms": round(document_ms),
        "document_again_ms": round(again_ms),
        "part_ms": round(part_ms),
        "part_kb": round(len(part.content) / 1e3),
    }
    for word, value in figures.items():
        print(f"{word:24} {value}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()

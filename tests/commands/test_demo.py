"""`hubblewave demo` as a newcomer runs it: the counts agree and what it prints works."""

import csv
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from hubblewave_pipelines.commands import flights


def late_from_jfk(path: Path) -> int:
    with path.open(newline="") as file:
        return sum(
            row["origin"] == "JFK"
            and row["dep_delay"] not in ("", "NA")
            and float(row["dep_delay"]) >= 60
            for row in csv.DictReader(file)
        )


pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("stack")]


@pytest.mark.timeout(600)
def test_the_demo_reaches_its_counts_and_its_curl_lines_work(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "hubblewave_pipelines",
        "demo",
        "--data-dir",
        str(tmp_path / "data"),
    ]
    command += ["--api-port", "0", "--dagster-port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        said: list[str] = []
        for line in demo.stdout:
            said.append(line)
            if "Running until Ctrl-C" in line:
                break
        shown = "".join(said)
        lines = [line.strip() for line in said if line.strip().startswith("curl ")]
        answers = [
            subprocess.run(shlex.split(line), capture_output=True, check=True).stdout
            for line in lines
        ]
        demo.terminate()
        assert demo.wait(60) == 0
    assert "DIFFERS" not in shown
    for sobject, records in (("Account", "2,000"), ("Contact", "1,000")):
        synced = rf"{sobject} +{records} there, {records} here: {records} created, 0 updated"
        assert re.search(synced, shown), shown
    (phone, before, now) = re.findall(r"phone (\+.+); here it had (.+) and has (\+.+) now", shown)[
        0
    ]
    assert phone == now != before
    (sandbox,) = re.findall(r"(http://\S+)/__sandbox", shown)
    with pytest.raises(httpx.ConnectError):
        httpx.get(sandbox)
    assert "  timeHour,airline.name,number,dest,departureDelay\n" in shown
    assert '  2013-01-09T14:00:00.000000Z,"Hawaiian Airlines Inc.",51,"HNL",1301\n' in shown
    exported = (tmp_path / "data" / flights.EXPORT_FILE).read_text().splitlines()
    assert len(exported) == 1 + late_from_jfk(tmp_path / "data" / "flights.csv")
    counted = re.findall(r"│ ([\d,]+) +│ ([\d,]+) +│ ok", shown)
    assert len(counted) == 8
    assert ("336,776", "336,776") in counted
    newest, from_jfk, definition = (json.loads(answer) for answer in answers)
    assert [set(item) for item in newest["items"]] == [
        {"carrier", "number", "origin", "dest", "timeHour"}
    ] * 2
    assert from_jfk["items"][0]["origin"] == "JFK"
    assert from_jfk["pageInfo"]["totalItems"] == 111_279
    assert definition["name"] == "Flight"


def test_the_facts_of_the_files_are_counted_without_the_platform(tmp_path: Path) -> None:
    found = {fact.label: fact.expected for fact in flights.facts(flights.unpack(tmp_path))}
    assert found["flights"] == 336_776
    assert found["flights by unknown planes"] == 52_606

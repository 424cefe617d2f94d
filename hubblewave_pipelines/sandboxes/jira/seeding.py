"""The issues that a Jira sandbox starts with, the same for the same seed and the same start of its clock."""

import random
from collections.abc import Iterator
from datetime import datetime, timedelta

from hubblewave_pipelines.sandboxes.jira.catalog import (
    AREAS,
    PEOPLE,
    PRIORITIES,
    PROJECTS,
    REGIONS,
    TIERS,
    TYPES,
)
from hubblewave_pipelines.sandboxes.jira.shapes import milliseconds
from hubblewave_pipelines.sandboxes.stage import Row

SPAN = timedelta(days=730)
VERBS = (
    "Invoice totals",
    "SSO login",
    "Größenfilter",
    "Nightly export",
    "退款 (refund)",
    "Webhook retries",
)
TROUBLES = (
    'fails for accounts with an ampersand & quote "',
    "is slow since the release",
    "shows yesterday's figures",
    "loses the last row",
    "needs an owner",
)
FIRST_ID = 10_001


def issues(random: random.Random, records: int, start: datetime) -> Iterator[Row]:
    """Ids rise with time; numbers rise within each project, so that keys and ids sort differently."""
    numbers = dict.fromkeys(PROJECTS, 0)
    keys = list(PROJECTS)
    begin, end = milliseconds(start - SPAN), milliseconds(start - timedelta(minutes=5))
    step = max(1, (end - begin) // max(1, records))
    mass = begin + (end - begin) // 3 * 2  # one change of many issues at the same instant
    for place in range(records):
        created = begin + place * step + random.randrange(step)
        project = random.choice(keys)
        numbers[project] += 1
        updated = random.randrange(created, end + 1)
        if random.random() < 0.1 and created <= mass:
            updated = mass
        yield {
            **blank(),
            "id": str(FIRST_ID + place),
            "project": project,
            "number": numbers[project],
            "created": created,
            "updated": updated,
            **values(random, created, updated),
        }


def blank() -> Row:
    """An issue with nothing in it."""
    return {
        "summary": "",
        "description": None,
        "environment": None,
        "issuetype": "Task",
        "parent": None,
        "status": "To Do",
        "priority": "Medium",
        "resolution": None,
        "resolutiondate": None,
        "assignee": None,
        "reporter": None,
        "labels": [],
        "duedate": None,
        "properties": {},
        "history": (),
        **{f"customfield_{number}": None for number in range(10010, 10021)},
    }


def values(random: random.Random, created: int, updated: int) -> Row:
    done = random.random() < 0.4
    region = random.choice([None, *REGIONS])
    return {
        "summary": f"{random.choice(VERBS)} {random.choice(TROUBLES)}",
        "description": random.choice(
            (None, "", "h2. Steps\n# open\n# wait\n\nNA", "NULL", "x" * 4_000, "Zürich → 東京 😀")
        ),
        "issuetype": random.choice([kind for kind in TYPES if kind != "Sub-task"]),
        "status": "Done" if done else random.choice(("To Do", "In Progress")),
        "priority": random.choice(list(PRIORITIES)),
        "resolution": "Done" if done else None,
        "resolutiondate": updated if done else None,
        "assignee": random.choice([None, *PEOPLE]),
        "reporter": random.choice(list(PEOPLE)),
        "labels": random.sample(("triage", "na", "münchen", "p1"), random.randrange(3)),
        "duedate": random.choice((None, "2024-02-29", "1999-12-31", "2030-01-01")),
        "customfield_10010": random.choice((None, 0, 1, 2, 3.5, 8, 0.1, 13)),
        "customfield_10011": random.choice((None, *TIERS)),
        "customfield_10012": random.choice((None, "2026-03-29", "2025-10-26")),
        "customfield_10013": random.choice((None, created)),
        "customfield_10014": random.choice((None, "000123", "NA", "C-77 / 2024", " lead")),
        "customfield_10015": random.sample(AREAS, random.randrange(3)) or None,
        "customfield_10016": random.choice([None, *PEOPLE]),
        "customfield_10018": random.choice((None, "One line", "Two\nlines")),
        "customfield_10019": None
        if region is None
        else (region, next(iter(REGIONS[region]), None)),
        "customfield_10020": random.sample(list(PEOPLE), 2) if random.random() < 0.2 else None,
    }

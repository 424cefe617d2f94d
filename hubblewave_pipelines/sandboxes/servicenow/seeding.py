"""The records that a ServiceNow sandbox starts with, the same for the same seed and start of its clock."""

import random
from collections.abc import Iterator
from datetime import datetime, timedelta

from hubblewave_pipelines.sandboxes.servicenow.schema import CATEGORIES, columns

SPAN = timedelta(days=730)
USERS = (
    "Abel Tuter",
    "Beth Anglin",
    "Zoë Müller",
    "Łukasz Nowak",
    "佐藤 順",
    "O'Neill, Grace",
    "Đặng Mai",
)
COMPANIES = ("ACME North America", "Größen & Söhne", "株式会社サンプル", "Null Ltd", "NA")
TROUBLES = (
    "Email is not working",
    "VPN ^ drops = often",
    'Can\'t read email & "calendar"',
    "Drucker im 3. OG druckt nicht / Größe A3",
    "NULL",
    "サーバーが応答しない",
)


def stamp(at: datetime) -> str:
    """UTC, whole seconds."""
    return at.strftime("%Y-%m-%d %H:%M:%S")


def new_sys_id(random: random.Random) -> str:
    """32 hexadecimal digits; a few of those that people and old releases made are not."""
    found = f"{random.getrandbits(128):032x}"
    odd = random.random()
    if odd < 0.004:
        return found.upper()
    return f"u_{found[2:]}" if odd < 0.006 else found


def people(random: random.Random, count: int, start: datetime) -> Iterator[dict[str, str]]:
    for place in range(count):
        name = USERS[place % len(USERS)]
        yield {
            **_record(random, "sys_user", start - SPAN, start - SPAN),
            "user_name": f"user.{place}",
            "name": name,
            "email": f"user.{place}@example.com",
            "active": "true" if place % 9 else "false",
            "time_zone": random.choice(("", "Europe/Berlin", "US/Pacific")),
        }


def companies(random: random.Random, count: int, start: datetime) -> Iterator[dict[str, str]]:
    for place in range(count):
        yield {
            **_record(random, "core_company", start - SPAN, start - timedelta(days=3)),
            "name": f"{COMPANIES[place % len(COMPANIES)]} {place}",
            "website": random.choice(("", "https://example.com/ü?a=1&b=2")),
            "revenue": random.choice(("", "0", "12345678901234567.25", "-0.01")),
            "founded": random.choice(("", "1999-12-31", "2024-02-29")),
            "market_cap": random.choice(("", "1000000.5")),
        }


def tasks(
    random: random.Random,
    table: str,
    records: int,
    start: datetime,
    users: list[str],
    firms: list[str],
) -> Iterator[dict[str, str]]:
    """Every tenth was changed in one second, by one mass update."""
    mass = start - timedelta(days=200)
    prefix = {"incident": "INC", "problem": "PRB"}[table]
    for place in range(records):
        created = start - SPAN + (SPAN - timedelta(hours=1)) * (place / max(1, records))
        updated = created + (start - timedelta(minutes=10) - created) * random.random()
        if random.random() < 0.1 and created < mass:
            updated = mass
        state = random.choice(("1", "2", "3", "6", "7"))
        row = {
            **_record(random, table, created, updated),
            "number": f"{prefix}{place + 1:07d}",
            "short_description": f"{random.choice(TROUBLES)} ({place})",
            "description": random.choice(("", "one\r\ntwo", "x" * 900, "😀 <b>html</b>")),
            "active": "false" if state == "7" else "true",
            "state": state,
            "priority": random.choice(("1", "2", "3", "4")),
            "assigned_to": random.choice(["", *users]),
            "company": random.choice(["", *firms]),
            "due_date": random.choice(("", "2026-03-29 01:30:00", "1970-01-01 00:00:00")),
            "opened_at": stamp(created),
            "closed_at": stamp(updated) if state == "7" else "",
            "watch_list": ",".join(random.sample(users, min(2, len(users))))
            if random.random() < 0.2
            else "",
            "time_worked": random.choice(("", "1970-01-01 02:30:00")),
        }
        if table == "incident":
            row |= {
                "caller_id": random.choice(users) if users else "",
                "category": random.choice(CATEGORIES)[0],
                "reopen_count": str(random.randrange(3)),
                "calendar_duration": random.choice(("", "1970-01-03 04:05:06")),
                "severity": random.choice(("1", "2", "3")),
            }
        else:
            row["known_error"] = random.choice(("true", "false"))
        yield row


def _record(
    random: random.Random, table: str, created: datetime, updated: datetime
) -> dict[str, str]:
    found = dict.fromkeys(columns(table), "")
    return found | {
        "sys_id": new_sys_id(random),
        "sys_created_on": stamp(created),
        "sys_created_by": "admin",
        "sys_updated_on": stamp(updated),
        "sys_updated_by": random.choice(("admin", "system", "beth.anglin")),
        "sys_mod_count": str(random.randrange(20)),
        **({"sys_class_name": table} if "sys_class_name" in found else {}),
    }

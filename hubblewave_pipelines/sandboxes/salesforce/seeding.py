"""The records that the Salesforce sandbox starts with: the same ones for the same seed and clock."""

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from hubblewave_pipelines.sandboxes.salesforce.model import SOBJECTS, SObject, id_of
from hubblewave_pipelines.sandboxes.sample import Sample
from hubblewave_pipelines.sandboxes.stage import Row

USERS = 3
SHARES = {"Account": 1.0, "Contact": 0.5, "Opportunity": 0.25}  # of the records asked for
_HISTORY = 3 * 365 * 24 * 3600
_TITLES = ("CEO", "CTO", "Buyer", 'Head of "Everything"', "", None)


def seeded(sample: Sample, records: int, start: datetime) -> dict[str, dict[str, Row]]:
    """Rows by id, by object. Stamps lie within three years before `start`, many within a week."""
    counts = {name: int(records * share) for name, share in SHARES.items()}
    made: dict[str, dict[str, Row]] = {}
    for sobject in SOBJECTS:
        count = {"User": USERS, "DailyRate__c": min(records, 30)}.get(
            sobject.name, counts.get(sobject.name, 0)
        )
        make = _MAKERS.get(sobject.name)
        rows: dict[str, Row] = {}
        for number in range(1, count + 1):
            assert make is not None, sobject.name
            key = id_of(sobject.prefix, number)
            values = make(sample, number, start, counts)
            rows[key] = finished(sobject, key, values, _stamp(sample, start), sample)
        made[sobject.name] = rows
    return made


def finished(
    sobject: SObject, key: str, values: dict[str, Any], stamp: datetime, sample: Sample
) -> Row:
    """A whole row: what every record has, and null for what was not said."""
    changed = stamp
    if sample.dice.random() < 0.05:  # an automated update moves only SystemModstamp
        changed = stamp - timedelta(hours=2)
    row: Row = dict.fromkeys(sobject.fields)
    row.update({name: False for name, f in sobject.fields.items() if f.type == "boolean"})
    row.update(values)
    user = id_of("005", 1 + sample.dice.randrange(USERS))
    row.update(
        Id=key,
        CreatedDate=changed - timedelta(days=sample.dice.randrange(400)),
        CreatedById=user,
        LastModifiedDate=changed,
        LastModifiedById=user,
        SystemModstamp=stamp,
    )
    if "OwnerId" in sobject.fields and row["OwnerId"] is None:
        row["OwnerId"] = user
    return derived(sobject, row)


def derived(sobject: SObject, row: Row) -> Row:
    """The fields that Salesforce makes of others, filled in."""
    if sobject.name == "Contact":
        row["Name"] = " ".join(part for part in (row["FirstName"], row["LastName"]) if part)
    if sobject.name == "Account":
        revenue = row["AnnualRevenue"]
        row["RevenueBand__c"] = "A" if revenue is not None and revenue > 1_000_000 else "B"
        row["BillingAddress"] = {
            "city": row["BillingCity"],
            "country": row["BillingCountry"],
            "street": row["BillingStreet"],
        }
    return row


def _stamp(sample: Sample, start: datetime) -> datetime:
    """Many share a second: an import of a morning."""
    spread = 7 * 24 * 3600 if sample.dice.random() < 0.3 else _HISTORY
    found = sample.instant(start - timedelta(minutes=5), spread)
    return found.replace(minute=0, second=0) if sample.dice.random() < 0.05 else found


def _account(s: Sample, n: int, start: datetime, _: dict[str, int]) -> dict[str, Any]:
    city = s.city()
    return {
        "Name": s.company(),
        "Type": s.dice.choice(("Prospect", "Customer", "Partner", "Other", None)),
        "Industry": s.dice.choice(("Banking", "Energy", "Retail", None)),
        "BillingStreet": s.dice.choice(
            ("1 Main St\nFloor 2", "Bahnhofstraße 5", None, "Rue d'Or 9")
        ),
        "BillingCity": city,
        "BillingCountry": s.country(),
        "Phone": s.maybe(s.phone()),
        "Website": s.maybe(f"https://example.com/a/{n}?q=ü", missing=0.4),
        "AnnualRevenue": s.amount() if n % 7 else None,
        "NumberOfEmployees": s.dice.randrange(100_000) if n % 5 else None,
        "Description": s.maybe(s.text(), missing=0.3),
        "Segments__c": s.dice.choice((None, "North", "North;South", "South;Key\\;ed")),
        "Score__c": s.amount(6, 3) if n % 3 else None,
        "Active__c": n % 4 != 0,
        "Founded__c": s.day(start.date()) if n % 6 else None,
        "LastAudit__c": s.instant(start, _HISTORY) if n % 2 else None,
        "ExternalKey__c": f"A-{n:07d}" if n % 10 else None,
    }


def _contact(s: Sample, n: int, start: datetime, counts: dict[str, int]) -> dict[str, Any]:
    last = s.last()
    account = 1 + s.dice.randrange(counts["Account"])
    return {
        "AccountId": id_of("001", account) if n % 20 else None,
        "FirstName": s.maybe(s.first()),
        "LastName": last,
        "Email": s.maybe(s.email(last)),
        "Phone": s.maybe(s.phone(), missing=0.5),
        "Title": s.dice.choice(_TITLES) or None,
        "Birthdate": s.day(start.date(), 20_000) if n % 3 else None,
        "HasOptedOutOfEmail": n % 9 == 0,
        "MailingCity": s.city(),
        "Description": s.maybe(s.text(), missing=0.6),
        "ExternalKey__c": f"C-{n:07d}",
    }


def _opportunity(s: Sample, n: int, start: datetime, counts: dict[str, int]) -> dict[str, Any]:
    return {
        "Name": f"{s.company()} {n}",
        "AccountId": id_of("001", 1 + s.dice.randrange(counts["Account"])),
        "Amount": s.amount(10) if n % 8 else None,
        "CloseDate": s.day(start.date()),
        "StageName": s.dice.choice(("Prospecting", "Negotiation", "Closed Won", "Closed Lost")),
        "Probability": Decimal(s.dice.choice((10, 50, 100))),
    }


def _user(s: Sample, n: int, _: datetime, __: dict[str, int]) -> dict[str, Any]:
    return {
        "Username": f"user{n}@sandbox.example",
        "Name": f"{s.first()} {s.last()}",
        "Email": f"user{n}@example.com",
        "IsActive": True,
        "TimeZoneSidKey": "America/Los_Angeles",
    }


def _rate(s: Sample, n: int, _: datetime, __: dict[str, int]) -> dict[str, Any]:
    return {"Name": f"EURUSD {n}", "Rate__c": s.amount(2, 6)}


_MAKERS: dict[str, Callable[[Sample, int, datetime, dict[str, int]], dict[str, Any]]] = {
    "Account": _account,
    "Contact": _contact,
    "Opportunity": _opportunity,
    "User": _user,
    "DailyRate__c": _rate,
}

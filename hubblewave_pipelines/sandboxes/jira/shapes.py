"""What an issue looks like on the wire: versions 2 and 3 of Cloud, and Data Center."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from hubblewave_pipelines.sandboxes.jira.catalog import (
    ACCOUNT,
    BY_ID,
    EMAIL,
    FIELDS,
    NAMED,
    PEOPLE,
    PROJECTS,
    STATUSES,
    IssueField,
)
from hubblewave_pipelines.sandboxes.stage import Row

Json = dict[str, Any]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Form:
    """`adf`: rich text as a document (version 3), else as wiki text. `cloud`: people by accountId."""

    base: str
    zone: ZoneInfo
    adf: bool
    cloud: bool


def milliseconds(at: datetime) -> int:
    return (at - EPOCH) // timedelta(milliseconds=1)


def stamp(value: int, zone: ZoneInfo) -> str:
    """`2026-01-01T10:30:00.000+1030`: of the account's zone, with no colon in the offset."""
    return (
        (EPOCH + timedelta(milliseconds=value)).astimezone(zone).strftime("%Y-%m-%dT%H:%M:%S.")
        + f"{value % 1000:03d}"
        + (EPOCH + timedelta(milliseconds=value)).astimezone(zone).strftime("%z")
    )


def key_of(row: Row) -> str:
    return f"{row['project']}-{row['number']}"


def issue(row: Row, form: Form, fields: Iterable[str] | None) -> Json:
    """`fields` None: as `id` only. Unknown fields are left out, as Jira does."""
    found: Json = {"id": row["id"]}
    if fields is None:
        return found
    found["key"] = key_of(row)
    found["self"] = f"{form.base}/rest/api/{3 if form.adf else 2}/issue/{row['id']}"
    found["expand"] = "operations,versionedRepresentations,editmeta,changelog,renderedFields"
    found["fields"] = {
        name: shown(BY_ID[name], row.get(name), form) for name in fields if name in BY_ID
    }
    return found


def chosen(asked: Iterable[str]) -> list[str] | None:
    """`*all`, `*navigable`, `-name` and names -> field ids; None when nothing but id or key is asked."""
    names = [name for name in asked if name]
    every = [field.id for field in FIELDS]
    found: list[str] = every if any(name.startswith(("*", "-")) for name in names) else []
    found = [*found, *(name for name in names if name in BY_ID and name not in found)]
    found = [name for name in found if f"-{name}" not in names]
    return found if found or "key" in names else None


def shown(field: IssueField, value: Any, form: Form) -> Any:
    if value is None:
        return [] if field.kind in ("labels",) else None
    match field.kind:
        case "rich":
            return document(value) if form.adf else value
        case "datetime":
            return stamp(value, form.zone)
        case "user":
            return person(value, form)
        case "users":
            return [person(one, form) for one in value]
        case "named":
            return named(field.id, value, form)
        case "option":
            return option(field, value, form)
        case "options":
            return [option(field, one, form) for one in value]
        case "cascade":
            parent, child = value
            found = option(field, parent, form)
            return {**found, "child": {"value": child, "id": "10990"}} if child else found
        case "project":
            number, name = PROJECTS[value]
            return {
                "id": number,
                "key": value,
                "name": name,
                "self": f"{form.base}/project/{number}",
            }
        case "parent":
            number, key = value
            return {"id": number, "key": key, "self": f"{form.base}/issue/{number}"}
        case _:
            return value


def person(account: str, form: Form) -> Json:
    name = "Sync Robot" if account == ACCOUNT else PEOPLE.get(account, account)
    found = {"displayName": name, "active": True, "timeZone": str(form.zone)}
    if form.cloud:
        return {**found, "accountId": account, "accountType": "atlassian"}
    login = "sync" if account == ACCOUNT else f"u{account[-3:]}"
    return {**found, "name": login, "key": f"JIRAUSER{account[-3:]}", "emailAddress": EMAIL}


def named(field: str, value: str, form: Form) -> Json:
    number = NAMED[field][value]
    found = {"id": number, "name": value, "self": f"{form.base}/{field}/{number}"}
    if field == "status":
        found["statusCategory"] = {"key": STATUSES[value][1]}  # type: ignore[assignment]
    if field == "issuetype":
        found["subtask"] = value == "Sub-task"  # type: ignore[assignment]
    return found


def option(field: IssueField, value: str, form: Form) -> Json:
    number = 10900 + field.choices.index(value) if value in field.choices else 10989
    return {"id": str(number), "value": value, "self": f"{form.base}/customFieldOption/{number}"}


def document(text: str) -> Json:
    """Text as an Atlassian document: a paragraph per line."""
    return {
        "type": "doc",
        "version": 1,
        "content": [
            {"type": "paragraph", "content": [{"type": "text", "text": line}] if line else []}
            for line in text.split("\n")
        ],
    }


def text_of(value: Any) -> str:
    """The text of a document, or the text itself."""
    if isinstance(value, str):
        return value
    if not isinstance(value, dict):
        return ""
    inner = [text_of(part) for part in value.get("content", ())]
    return value.get("text", "") or ("\n" if value.get("type") == "doc" else "").join(inner)

"""What the Jira sandbox's site holds beside issues: fields, projects, people, types, statuses, workflow."""

from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
CUSTOM = "com.atlassian.jira.plugin.system.customfieldtypes:"


@dataclass(frozen=True, slots=True)
class IssueField:
    """`kind` says how a value is stored in a row and shown: text, rich, number, date, datetime, user,
    users, named, option, options, cascade, labels, project, parent.
    """

    id: str
    name: str
    kind: str
    custom: str = ""  # the custom field type's key
    choices: tuple[str, ...] = ()
    editable: bool = True

    @property
    def schema(self) -> Json:
        types = {
            "text": "string",
            "rich": "string",
            "number": "number",
            "date": "date",
            "datetime": "datetime",
            "user": "user",
            "named": self.id,
            "option": "option",
            "cascade": "option-with-child",
            "project": "project",
            "parent": "issuelink",
        }
        many = {"users": "user", "options": "option", "labels": "string"}
        found: Json = (
            {"type": "array", "items": many[self.kind]}
            if self.kind in many
            else {"type": types[self.kind]}
        )
        if not self.custom:
            return {**found, "system": self.id}
        number = int(self.id.removeprefix("customfield_"))
        return {**found, "custom": CUSTOM + self.custom, "customId": number}

    @property
    def clauses(self) -> list[str]:
        if not self.custom:
            return {"issuetype": ["issuetype", "type"], "duedate": ["due", "duedate"]}.get(
                self.id, [self.id]
            )
        return [f"cf[{self.id.removeprefix('customfield_')}]", self.name]

    def as_json(self) -> Json:
        return {
            "id": self.id,
            "key": self.id,
            "name": self.name,
            "custom": bool(self.custom),
            "orderable": self.editable,
            "navigable": True,
            "searchable": True,
            "clauseNames": self.clauses,
            "schema": self.schema,
        }


TIERS = ("Platinum", "Gold", "Silver", "Bronze")
AREAS = ("Ledger", "Payments", "Onboarding", "Reporting", "Mobile")
REGIONS = {
    "EMEA": ("Deutschland", "France", "Österreich"),
    "APAC": ("日本", "Australia"),
    "AMER": (),
}

FIELDS = (
    IssueField("summary", "Summary", "text"),
    IssueField("description", "Description", "rich"),
    IssueField("environment", "Environment", "rich"),
    IssueField("issuetype", "Issue Type", "named"),
    IssueField("project", "Project", "project"),
    IssueField("parent", "Parent", "parent"),
    IssueField("status", "Status", "named", editable=False),
    IssueField("priority", "Priority", "named"),
    IssueField("resolution", "Resolution", "named", editable=False),
    IssueField("resolutiondate", "Resolved", "datetime", editable=False),
    IssueField("assignee", "Assignee", "user"),
    IssueField("reporter", "Reporter", "user"),
    IssueField("labels", "Labels", "labels"),
    IssueField("duedate", "Due date", "date"),
    IssueField("created", "Created", "datetime", editable=False),
    IssueField("updated", "Updated", "datetime", editable=False),
    IssueField("customfield_10010", "Story Points", "number", "float"),
    IssueField("customfield_10011", "Customer Tier", "option", "select", TIERS),
    IssueField("customfield_10012", "Go-live", "date", "datepicker"),
    IssueField("customfield_10013", "Escalated at", "datetime", "datetime"),
    IssueField("customfield_10014", "Contract", "text", "textfield"),
    IssueField("customfield_10015", "Areas", "options", "multiselect", AREAS),
    IssueField("customfield_10016", "Account owner", "user", "userpicker"),
    IssueField("customfield_10017", "External key", "text", "textfield"),
    IssueField("customfield_10018", "Release notes", "rich", "textarea"),
    IssueField("customfield_10019", "Region", "cascade", "cascadingselect", tuple(REGIONS)),
    IssueField("customfield_10020", "Watch list", "users", "multiuserpicker"),
)
BY_ID = {field.id: field for field in FIELDS}

PROJECTS = {
    "PAY": ("10000", "Payments"),
    "OPS": ("10001", "Operations"),
    "CRM": ("10002", "Größen & Kunden"),
}
TYPES = {"Bug": "10100", "Story": "10101", "Task": "10102", "Sub-task": "10103"}
PRIORITIES = {"Highest": "1", "High": "2", "Medium": "3", "Low": "4", "Lowest": "5"}
RESOLUTIONS = {"Done": "10200", "Won't Do": "10201", "Duplicate": "10202"}
STATUSES = {
    "To Do": ("10300", "new"),
    "In Progress": ("10301", "indeterminate"),
    "Done": ("10302", "done"),
}
TRANSITIONS = {"To Do": "11", "In Progress": "21", "Done": "31"}
NAMED = {
    "issuetype": TYPES,
    "priority": PRIORITIES,
    "resolution": RESOLUTIONS,
    "status": {name: number for name, (number, _) in STATUSES.items()},
}

PEOPLE = {
    f"5b10ac8d82e05b22cc7d4{number:03d}": name
    for number, name in enumerate(
        (
            "Ada Ölander",
            "Grace O'Neill",
            "Jun Sato 佐藤",
            "Łukasz Nowak",
            "Zoë Müller",
            "Ravi Kumar",
            "Mia Đặng",
        )
    )
}
ACCOUNT = "5b10ac8d82e05b22cc7d4999"  # the integration's own
EMAIL = "sync@example.com"
TOKEN = "sandbox-api-token"  # noqa: S105 - what a sandbox prints on its first screen
PAT = "sandbox-personal-access-token"
CLIENT = ("sandbox-client", "sandbox-secret")
CLOUD_ID = "11223344-a1b2-3b33-c444-def123456789"


def clause_names() -> dict[str, str]:
    """Every name that JQL knows a field by, in lower case."""
    names = {name.lower(): field.id for field in FIELDS for name in field.clauses}
    return {**names, "key": "key", "resolved": "resolutiondate", "text": "summary"}

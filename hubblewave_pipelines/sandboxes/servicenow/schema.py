"""The tables of a ServiceNow sandbox: which extends which, their columns, types and choices."""

from dataclasses import dataclass
from hashlib import md5


@dataclass(frozen=True, slots=True)
class Column:
    """`kind` is the dictionary's internal type; `choices` are (value, label)."""

    name: str
    label: str
    kind: str = "string"
    length: int = 40
    reference: str = ""
    mandatory: bool = False
    read_only: bool = False
    choices: tuple[tuple[str, str], ...] = ()
    unique: bool = False
    default: str = ""


@dataclass(frozen=True, slots=True)
class TableType:
    name: str
    label: str
    parent: str = ""
    columns: tuple[Column, ...] = ()
    audited: bool = True


def sys_id(text: str) -> str:
    """A stable sys_id for what the sandbox itself defines."""
    return md5(text.encode(), usedforsecurity=False).hexdigest()


SYSTEM = (
    Column("sys_id", "Sys ID", "GUID", 32, read_only=True, unique=True),
    Column("sys_created_on", "Created", "glide_date_time", read_only=True),
    Column("sys_created_by", "Created by", read_only=True),
    Column("sys_updated_on", "Updated", "glide_date_time", read_only=True),
    Column("sys_updated_by", "Updated by", read_only=True),
    Column("sys_mod_count", "Updates", "integer", read_only=True),
)
STATES = (("1", "New"), ("2", "In Progress"), ("3", "On Hold"), ("6", "Resolved"), ("7", "Closed"))
PRIORITIES = (("1", "1 - Critical"), ("2", "2 - High"), ("3", "3 - Moderate"), ("4", "4 - Low"))
CATEGORIES = (("inquiry", "Inquiry / Help"), ("hardware", "Hardware"), ("network", "Network"))

TABLES = {
    table.name: table
    for table in (
        TableType(
            "task",
            "Task",
            columns=(
                Column("number", "Number", unique=True),
                Column("short_description", "Short description", length=160),
                Column("description", "Description", length=4000),
                Column("active", "Active", "boolean", default="true"),
                Column("state", "State", "integer", choices=STATES, default="1"),
                Column("priority", "Priority", "integer", choices=PRIORITIES, default="4"),
                Column("assigned_to", "Assigned to", "reference", 32, "sys_user"),
                Column("company", "Company", "reference", 32, "core_company"),
                Column("due_date", "Due date", "glide_date_time"),
                Column("opened_at", "Opened", "glide_date_time"),
                Column("closed_at", "Closed", "glide_date_time"),
                Column("work_notes", "Work notes", "journal_input", 4000),
                Column("watch_list", "Watch list", "glide_list", 4000, "sys_user"),
                Column("correlation_id", "Correlation ID", length=100),
                Column("time_worked", "Time worked", "timer"),
                Column("sys_class_name", "Task type", "sys_class_name", 80, read_only=True),
            ),
        ),
        TableType(
            "incident",
            "Incident",
            "task",
            (
                Column("caller_id", "Caller", "reference", 32, "sys_user", mandatory=True),
                Column("category", "Category", choices=CATEGORIES, default="inquiry"),
                Column("reopen_count", "Reopen count", "integer", default="0"),
                Column("calendar_duration", "Duration", "glide_duration"),
                Column("severity", "Severity", "integer", choices=PRIORITIES[:3], default="3"),
            ),
        ),
        TableType("problem", "Problem", "task", (Column("known_error", "Known error", "boolean"),)),
        TableType(
            "sys_user",
            "User",
            columns=(
                Column("user_name", "User ID", unique=True),
                Column("name", "Name", length=151),
                Column("email", "Email", "email", 100),
                Column("active", "Active", "boolean", default="true"),
                Column("time_zone", "Time zone"),
            ),
            audited=False,
        ),
        TableType(
            "core_company",
            "Company",
            columns=(
                Column("name", "Name", length=80),
                Column("website", "Website", "url", 1024),
                Column("revenue", "Revenue", "decimal"),
                Column("founded", "Founded", "glide_date"),
                Column("market_cap", "Market cap", "currency"),
            ),
        ),
        TableType(
            "sys_audit_delete",
            "Deleted Record",
            columns=(
                Column("tablename", "Table name"),
                Column("documentkey", "Document key", length=32),
                Column("display_value", "Display value", length=255),
            ),
            audited=False,
        ),
        TableType(
            "sys_audit",
            "Audit",
            columns=(
                Column("tablename", "Table name"),
                Column("documentkey", "Document key", length=32),
                Column("fieldname", "Field name"),
                Column("oldvalue", "Old value", length=255),
                Column("newvalue", "New value", length=255),
            ),
            audited=False,
        ),
        TableType(
            "sys_db_object",
            "Table",
            columns=(
                Column("name", "Name"),
                Column("label", "Label"),
                Column("super_class", "Extends table", "reference", 32, "sys_db_object"),
            ),
            audited=False,
        ),
        TableType(
            "sys_dictionary",
            "Dictionary Entry",
            columns=(
                Column("name", "Table"),
                Column("element", "Column name"),
                Column("column_label", "Column label"),
                Column("internal_type", "Type", "reference", 32, "sys_glide_object"),
                Column("max_length", "Max length", "integer"),
                Column("mandatory", "Mandatory", "boolean"),
                Column("read_only", "Read only", "boolean"),
                Column("reference", "Reference", "reference", 32, "sys_db_object"),
                Column("choice", "Choice", "integer"),
                Column("unique", "Unique", "boolean"),
                Column("audit", "Audit", "boolean"),
                Column("attributes", "Attributes", length=1000),
                Column("active", "Active", "boolean"),
            ),
            audited=False,
        ),
        TableType(
            "sys_choice",
            "Choice",
            columns=(
                Column("name", "Table"),
                Column("element", "Element"),
                Column("value", "Value"),
                Column("label", "Label"),
                Column("language", "Language"),
                Column("sequence", "Sequence", "integer"),
                Column("inactive", "Inactive", "boolean"),
            ),
            audited=False,
        ),
    )
}


def lineage(table: str) -> list[str]:
    """The table and those it extends, the table first."""
    found = []
    while table:
        found.append(table)
        table = TABLES[table].parent
    return found


def descendants(table: str) -> list[str]:
    """The table and all that extend it."""
    return [name for name in TABLES if table in lineage(name)]


def columns(table: str) -> dict[str, Column]:
    """Every column of a table, its parents' with it."""
    found = {column.name: column for column in SYSTEM}
    for name in reversed(lineage(table)):
        found.update({column.name: column for column in TABLES[name].columns})
    return found


def kind(column: Column) -> str:
    """How a column compares: number, date or text."""
    if column.kind in ("integer", "decimal", "currency"):
        return "number"
    return "date" if column.kind.startswith("glide_date") else "text"


def definitions(stamp: str) -> dict[str, dict[str, dict[str, str]]]:
    """Rows of sys_db_object, sys_dictionary and sys_choice that describe the tables."""
    system = {
        "sys_created_on": stamp,
        "sys_updated_on": stamp,
        "sys_created_by": "system",
        "sys_updated_by": "system",
        "sys_mod_count": "0",
    }
    rows: dict[str, list[dict[str, str]]] = {
        "sys_db_object": [],
        "sys_dictionary": [],
        "sys_choice": [],
    }
    for name, table in TABLES.items():
        parent = sys_id(f"table:{table.parent}") if table.parent else ""
        rows["sys_db_object"].append(
            {
                "sys_id": sys_id(f"table:{name}"),
                "name": name,
                "label": table.label,
                "super_class": parent,
            }
        )
        rows["sys_dictionary"].append(
            _entry(name, Column("", table.label, "collection"), table.audited)
        )
        for column in (*SYSTEM, *table.columns) if not table.parent else table.columns:
            rows["sys_dictionary"].append(_entry(name, column, False))
            rows["sys_choice"].extend(
                {
                    "sys_id": sys_id(f"choice:{name}.{column.name}.{value}"),
                    "name": name,
                    "element": column.name,
                    "value": value,
                    "label": label,
                    "language": "en",
                    "sequence": str(place),
                    "inactive": "false",
                }
                for place, (value, label) in enumerate(column.choices)
            )
    return {
        name: {row["sys_id"]: {**dict.fromkeys(columns(name), ""), **system, **row} for row in held}
        for name, held in rows.items()
    }


def _entry(table: str, column: Column, audited: bool) -> dict[str, str]:
    return {
        "sys_id": sys_id(f"dictionary:{table}.{column.name}"),
        "name": table,
        "element": column.name,
        "column_label": column.label,
        "internal_type": column.kind,
        "max_length": str(column.length),
        "mandatory": _flag(column.mandatory),
        "read_only": _flag(column.read_only),
        "reference": column.reference,
        "choice": "3" if column.choices else "0",
        "unique": _flag(column.unique),
        "audit": _flag(audited),
        "attributes": "",
        "active": "true",
    }


def _flag(held: bool) -> str:
    return "true" if held else "false"

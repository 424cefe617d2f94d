"""Tables of an instance as streams: which there are, what they extend, their columns, choices and audits."""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

from hubblewave_pipelines.connectors.servicenow.encoded import escaped
from hubblewave_pipelines.connectors.servicenow.table_api import Ask, Row, TableApi, denied
from hubblewave_pipelines.connectors.servicenow.values import CURRENCIES, DURATIONS, kind_of
from hubblewave_pipelines.connectors.servicenow.walking import Place, walk
from hubblewave_pipelines.core.entity import FieldKind
from hubblewave_pipelines.core.errors import PartialAnswer, UnknownStream, VendorRefused
from hubblewave_pipelines.core.stream import DeleteStrategy, Stream, StreamField

KEY, CURSOR = "sys_id", "sys_updated_on"
DEPTH = 6  # how many tables deep one may extend another, as far as one request looks
MOST = 10_000
SAMPLE = 20  # records, of which ACLs may hide some
_SYSTEM = frozenset(
    {
        "sys_id",
        "sys_created_on",
        "sys_created_by",
        "sys_updated_on",
        "sys_updated_by",
        "sys_mod_count",
        "sys_class_name",
    }
)
_COLUMNS = (
    "name",
    "element",
    "column_label",
    "internal_type",
    "max_length",
    "mandatory",
    "read_only",
    "reference",
    "choice",
    "unique",
    "audit",
    "attributes",
)
_NAMES = (KEY, "name")
_CHOICES = ("name", "element", "value")


class Catalog:
    """What an instance says of its tables; asked for again by each connector, kept by none."""

    def __init__(self, api: TableApi) -> None:
        self._api = api
        self._audits: dict[str, str] = {}
        self._families: dict[str, list[str]] = {}
        self.samples: dict[str, Row | None] = {}  # any record of a table, to try literals with

    def streams(self) -> list[Stream]:
        """Every table that the account may list, without fields. One request for ten thousand."""
        rows = self._all("sys_db_object", "nameISNOTEMPTY", ("sys_id", "name", "label"))
        return sorted(
            (Stream(r["name"], KEY, (), r.get("label") or r["name"], CURSOR) for r in rows),
            key=lambda stream: stream.name,
        )

    def describe(self, name: str) -> Stream:
        """Two requests. Raises UnknownStream."""
        lineage = self._lineage(name)
        tables = ",".join(lineage)
        told, chosen, deleted, changed, sample, family = self._api.together(
            Ask("sys_dictionary", f"nameIN{tables}^active=true", ("sys_id", *_COLUMNS)),
            Ask("sys_choice", f"nameIN{tables}^inactive=false^language=en", ("sys_id", *_CHOICES)),
            Ask("sys_audit_delete", "", (KEY,), 1),
            Ask("sys_audit", "", (KEY,), 1),
            Ask(name, "", (KEY, CURSOR), SAMPLE),
            Ask("sys_db_object", _extending(name), _NAMES),
        )
        entries = _allowed(told)
        own = [row for row in entries if row["name"] == name and not row["element"]]
        columns: dict[str, Row] = {}
        for table in reversed(lineage):  # a child's entry overrides its parent's
            columns |= {r["element"]: r for r in entries if r["name"] == table and r["element"]}
        if not columns:
            raise UnknownStream(
                f"{name}: the account sees none of its columns in sys_dictionary; it needs read access"
                " to that table (role personalize_dictionary, or an ACL) and to the table itself."
            )
        choices = _choices(_allowed(chosen), lineage)
        self._families[name] = sorted({name, *(row["name"] for row in _allowed(family))})
        self.samples[name] = next((row for row in _allowed(sample) if row.get(CURSOR)), None)
        audit = self._audit(name, own)
        strategy, note = _deletes(audit, deleted if audit == "sys_audit_delete" else changed)
        fields = tuple(_field(column, choices) for column in columns.values())
        changing = any(field.name == CURSOR for field in fields)
        return Stream(
            name=name,
            key=KEY,
            fields=tuple(sorted(fields, key=lambda field: (field.name != KEY, field.name))),
            label=own[0].get("column_label") or name if own else name,
            cursor=CURSOR if changing else None,
            cursor_granularity=timedelta(seconds=1),
            deletes=strategy,
            creatable=True,
            updatable=True,
            deletable=True,
            notes=tuple(_notes(list(columns.values()), note, changing)),
        )

    def family(self, name: str) -> list[str]:
        """The table and those that extend it, however far: whose records it holds."""
        if name not in self._families:
            rows = self._all("sys_db_object", _extending(name), _NAMES)
            self._families[name] = sorted({name, *(row["name"] for row in rows)})
        return self._families[name]

    def _lineage(self, name: str) -> list[str]:
        paths = ["super_class." * depth + "name" for depth in range(DEPTH + 1)]
        rows = self._all("sys_db_object", f"name={escaped(name)}", ("sys_id", *paths))
        if not rows:
            raise UnknownStream(f"The instance has no table {name}, or the account may not see it.")
        return [found for path in paths if (found := rows[0].get(path))]

    def audit(self, name: str) -> str:
        """Where deletes of the table are told: its own audit of deletes, or the audit of all changes,
        which tells deletes of tables that are not audited, too.
        """
        if name not in self._audits:
            query = f"name={escaped(name)}^elementISEMPTY"
            self._audit(name, self._all("sys_dictionary", query, ("sys_id", "audit")))
        return self._audits[name]

    def _audit(self, name: str, own: Sequence[Row]) -> str:
        audited = any(row.get("audit") == "true" for row in own)
        self._audits[name] = "sys_audit_delete" if audited else "sys_audit"
        return self._audits[name]

    def _all(self, table: str, condition: str, fields: Sequence[str]) -> list[Row]:
        return [
            row
            for step in walk(self._api, table, under(condition), fields, Place(limit=MOST))
            for row in step.rows
        ]


def _extending(name: str) -> str:
    """The query for a table and those that extend it, `DEPTH` tables deep."""
    paths = ["super_class." * depth + "name" for depth in range(DEPTH + 1)]
    return "^OR".join(f"{path}={escaped(name)}" for path in paths)


def under(condition: str) -> Callable[[str], str]:
    """Queries below one condition, in the order of sys_id."""
    return lambda more: "^".join(part for part in (condition, more, "ORDERBYsys_id") if part)


def _allowed(found: Sequence[Row] | VendorRefused) -> Sequence[Row]:
    if isinstance(found, VendorRefused):
        raise found
    if len(found) >= MOST:
        raise PartialAnswer(
            f"More than {MOST} entries describe one table: nothing was left out silently."
        )
    return found


def _choices(rows: Sequence[Row], lineage: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
    """The values of each element, by the table nearest to the one described."""
    found: dict[str, dict[str, set[str]]] = {}
    for row in rows:
        by_table = found.setdefault(row["element"], {})
        by_table.setdefault(row["name"], set()).add(row["value"])
    return {
        element: tuple(sorted(next(by_table[name] for name in lineage if name in by_table)))
        for element, by_table in found.items()
    }


def _deletes(audit: str, seen: Sequence[Row] | VendorRefused) -> tuple[DeleteStrategy, str]:
    if isinstance(seen, VendorRefused):
        if not denied(seen):
            raise seen
        return (
            DeleteStrategy.SNAPSHOT,
            f"Deletes show by listing all keys: the account may not read {audit}.",
        )
    return (
        DeleteStrategy.FEED,
        f"Deletes come from {audit}. Those of table cleaners and of scripts that switch it off are not"
        " in it: compare all keys from time to time.",
    )


def _has_choices(row: Row) -> bool:
    return row.get("choice") in ("1", "3")


def _field(row: Row, choices: Mapping[str, tuple[str, ...]]) -> StreamField:
    name, internal = row["element"], row.get("internal_type") or "string"
    length = int(row["max_length"]) if str(row.get("max_length", "")).isdigit() else None
    chosen = choices.get(name, ()) if _has_choices(row) else ()
    kind = kind_of(internal, length, choices=bool(chosen))
    open_to_writes = row.get("read_only") != "true" and name not in _SYSTEM
    refers = row.get("reference") or ""
    return StreamField(
        name=name,
        kind=kind,
        label=row.get("column_label") or name,
        nullable=row.get("mandatory") != "true" and name != KEY,
        creatable=open_to_writes,
        updatable=open_to_writes,
        external_id=name == "correlation_id",
        unique=name == KEY or row.get("unique") == "true",
        max_length=length
        if kind in (FieldKind.TEXT, FieldKind.LONGTEXT) and internal not in DURATIONS
        else None,
        choices=chosen,
        refers_to=(refers,) if refers and internal in ("reference", "glide_list") else (),
    )


def _notes(rows: Sequence[Row], deletes: str, changing: bool) -> list[str]:
    found = [deletes]
    if not changing:
        found.append("The table has no sys_updated_on: it is read whole each time.")
    money = sorted(row["element"] for row in rows if row.get("internal_type") in CURRENCIES)
    if money:
        found.append(
            f"Amounts are converted to the account's own currency when they are read: {', '.join(money)}."
        )
    spans = sorted(row["element"] for row in rows if row.get("internal_type") in DURATIONS)
    if spans:
        found.append(f"Durations are seconds: {', '.join(spans)}.")
    return found

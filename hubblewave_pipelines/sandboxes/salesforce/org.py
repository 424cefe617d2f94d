"""The records of a Salesforce organisation and the rules of changing them: stamps, bin, late commits."""

import itertools
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from hubblewave_pipelines.sandboxes.salesforce.model import (
    NUMBERS,
    SOBJECTS,
    Field,
    SObject,
    full_id,
    id_of,
)
from hubblewave_pipelines.sandboxes.salesforce.refusing import Refused
from hubblewave_pipelines.sandboxes.salesforce.seeding import derived, finished, seeded
from hubblewave_pipelines.sandboxes.sample import Sample
from hubblewave_pipelines.sandboxes.stage import Row, Stage, Table

BIN_DAYS = 15
_TEXTS = frozenset({"string", "textarea", "phone", "url", "email", "picklist", "multipicklist"})


class Org:
    """Tables of a stage, one per sObject. Times are whole seconds, as Salesforce stamps them."""

    def __init__(self, stage: Stage, sample: Sample, records: int, start: datetime) -> None:
        self.stage = stage
        self.sample = sample
        self.sobjects: dict[str, SObject] = {s.name: s for s in SOBJECTS}
        self._numbers: dict[str, Any] = {}
        self.gone: dict[str, list[tuple[str, datetime]]] = {s.name: [] for s in SOBJECTS}
        self.log_starts: dict[str, datetime] = {}
        self.open: list[tuple[datetime, datetime]] = []  # stamps of transactions, and their commits
        for name, rows in seeded(sample, records, start).items():
            stage.add(Table(name, "Id")).load(rows)
            self._numbers[name] = itertools.count(len(rows) + 1)

    def table(self, name: str) -> Table:
        return self.stage.tables[name]

    def row(self, sobject: SObject, key: str) -> Row:
        """A record that is not in the bin. Raises Refused 404."""
        try:
            row = self.table(sobject.name).rows.get(full_id(key))
        except ValueError:
            row = None
        if row is None:
            raise Refused(404, "NOT_FOUND", "The requested resource does not exist")
        if row.get("IsDeleted"):
            raise Refused(404, "ENTITY_IS_DELETED", "entity is deleted")
        return row

    def create(self, sobject: SObject, values: Mapping[str, Any], at: datetime) -> str:
        typed = self._typed(sobject, values, creating=True)
        missing = [name for name in sobject.required if typed.get(name) in (None, "")]
        if missing:
            raise Refused(
                400,
                "REQUIRED_FIELD_MISSING",
                f"Required fields are missing: [{', '.join(missing)}]",
                missing,
            )
        self._unique(sobject, typed, None)
        key = id_of(sobject.prefix, next(self._numbers[sobject.name]))
        row = finished(sobject, key, typed, _second(at), self.sample)
        row.update(CreatedDate=_second(at), LastModifiedDate=_second(at))
        self.stage.put(sobject.name, row, at=_second(at))
        return key

    def edit(
        self,
        sobject: SObject,
        key: str,
        values: Mapping[str, Any],
        at: datetime,
        committed: datetime | None = None,
    ) -> None:
        """With `committed` it is a long transaction: stamped `at`, seen only then. A write that
        changes nothing stamps all the same.
        """
        row = self.row(sobject, key)
        typed = self._typed(sobject, values, creating=False)
        self._unique(sobject, typed, row["Id"])
        stamp = _second(at)
        new = derived(sobject, {**row, **typed, "LastModifiedDate": stamp, "SystemModstamp": stamp})
        if committed is not None:
            self.open.append((stamp, committed))
        self.stage.put(sobject.name, new, at=stamp, committed=committed)

    def delete(self, sobject: SObject, key: str, at: datetime) -> None:
        """Into the recycle bin for 15 days."""
        row, stamp = self.row(sobject, key), _second(at)
        if not sobject.soft_delete:
            self.purge(sobject, key, at)
            return
        stamps = {"LastModifiedDate": stamp, "SystemModstamp": stamp}
        self.stage.put(sobject.name, {**row, **stamps, "IsDeleted": True}, at=stamp)
        self.gone[sobject.name].append((row["Id"], stamp))

    def undelete(self, sobject: SObject, key: str, at: datetime) -> None:
        full, stamp = full_id(key), _second(at)
        row = self.table(sobject.name).rows.get(full)
        if row is None or not row.get("IsDeleted"):
            raise Refused(404, "UNDELETE_FAILED", "Entity is not in the recycle bin")
        self.stage.put(sobject.name, {**row, "IsDeleted": False, "SystemModstamp": stamp}, at=stamp)
        self.gone[sobject.name] = [g for g in self.gone[sobject.name] if g[0] != full]

    def purge(self, sobject: SObject, key: str, at: datetime) -> None:
        """Gone past the bin. A record that was not deleted before leaves no trace in any feed."""
        self.stage.drop(sobject.name, full_id(key), at=_second(at))

    def empty_bin(self, now: datetime) -> None:
        """What was deleted 15 days ago or longer is gone, and no feed tells of it any more."""
        oldest = now - timedelta(days=BIN_DAYS)
        for name, gone in self.gone.items():
            if gone and gone[0][1] < oldest:
                for key, _ in (entry for entry in gone if entry[1] < oldest):
                    row = self.table(name).rows.get(key)
                    if row is not None and row["IsDeleted"]:
                        self.stage.drop(name, key, at=now)
                self.gone[name] = [entry for entry in gone if entry[1] >= oldest]

    def covered(self, now: datetime) -> datetime:
        """Nothing that is stamped before it can still appear."""
        self.open = [(stamp, commit) for stamp, commit in self.open if commit > now]
        return min([_second(now), *(stamp for stamp, _ in self.open)])

    def by_external(self, sobject: SObject, name: str, value: str) -> list[Row]:
        field = sobject.field_named(name)
        if field is None or not (field.external_id or field.type == "id"):
            raise Refused(
                400, "INVALID_FIELD", f"Provided external ID field does not exist: {name}"
            )
        wanted = value.casefold()
        return [
            row
            for row in self.table(sobject.name).rows.values()
            if not row.get("IsDeleted") and str(row[field.name] or "").casefold() == wanted
        ]

    def _unique(self, sobject: SObject, values: Mapping[str, Any], key: str | None) -> None:
        for name, value in values.items():
            if value is None or not sobject.fields[name].unique:
                continue
            for row in self.by_external(sobject, name, value):
                if row["Id"] != key:
                    raise Refused(
                        400,
                        "DUPLICATE_VALUE",
                        f"duplicate value found: {name} duplicates value on record with id: "
                        f"{row['Id'][:15]}",
                        [name],
                    )

    def _typed(
        self, sobject: SObject, values: Mapping[str, Any], *, creating: bool
    ) -> dict[str, Any]:
        typed: dict[str, Any] = {}
        for name, value in values.items():
            if name == "attributes":
                continue
            field = sobject.field_named(name)
            if field is None:
                raise Refused(
                    400,
                    "INVALID_FIELD",
                    f"No such column '{name}' on sobject of type {sobject.name}",
                )
            if not (field.createable if creating else field.updateable):
                raise Refused(
                    400,
                    "INVALID_FIELD_FOR_INSERT_UPDATE",
                    f"Unable to create/update fields: {name}. Please check the security settings "
                    "of this field and verify that it is read/write for your profile or "
                    "permission set.",
                    [name],
                )
            typed[field.name] = _value(field, value)
        return typed


def _value(field: Field, value: Any) -> Any:
    if value is None or value == "":
        if field.type == "boolean":
            raise _wrong(field, value)
        return None
    try:
        if field.type in NUMBERS:
            return Decimal(str(value))
        match field.type:
            case "int":
                return int(value)
            case "boolean":
                if isinstance(value, bool):
                    return value
                return {"true": True, "false": False}[str(value).lower()]
            case "date":
                return date.fromisoformat(str(value)[:10])
            case "datetime":
                found = datetime.fromisoformat(str(value))
                if found.tzinfo is None:
                    raise ValueError(value)
                return _second(found)
            case "reference":
                return full_id(str(value))
    except (ValueError, KeyError, InvalidOperation):
        raise _wrong(field, value) from None
    if field.type in _TEXTS:
        text = str(value).strip() if field.type != "textarea" else str(value)
        if field.length and len(text) > field.length:
            raise Refused(
                400,
                "STRING_TOO_LONG",
                f"{field.label or field.name}: data value too large: {text[:80]} "
                f"(max length={field.length})",
                [field.name],
            )
        if field.type == "email" and "@" not in text:
            raise Refused(
                400, "INVALID_EMAIL_ADDRESS", f"Email: invalid email address: {text}", [field.name]
            )
        return text or None
    return value


def _wrong(field: Field, value: Any) -> Refused:
    return Refused(
        400,
        "JSON_PARSER_ERROR",
        f"Cannot deserialize instance of {field.type} from value {value!r}",
        [field.name],
    )


def _second(at: datetime) -> datetime:
    return at.replace(microsecond=0)

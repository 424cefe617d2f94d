"""`describe` and the list of sObjects -> streams."""

from collections.abc import Mapping
from typing import Any

from hubblewave_pipelines.connectors.salesforce.values import LEFT_OUT, kind_of
from hubblewave_pipelines.core.stream import (
    CompareAndSet,
    DeleteStrategy,
    Stream,
    StreamField,
)

KEY = "Id"
CURSOR = "SystemModstamp"


def brief(found: Mapping[str, Any]) -> Stream:
    """One entry of `/sobjects`, or the head of a `describe`, without fields."""
    feed = bool(found.get("replicateable"))
    return Stream(
        name=found["name"],
        key=KEY,
        fields=(),
        label=found.get("label", ""),
        cursor=CURSOR if feed else None,
        deletes=DeleteStrategy.FEED if feed else DeleteStrategy.SNAPSHOT,
        creatable=bool(found.get("createable")),
        updatable=bool(found.get("updateable")),
        deletable=bool(found.get("deletable")),
        compare_and_set=CompareAndSet.UNMODIFIED_SINCE,
    )


def described(found: Mapping[str, Any]) -> Stream:
    """A whole `describe`. What cannot be read is left out, and said in the notes."""
    head = brief(found)
    fields = tuple(_field(field) for field in found["fields"] if field["type"] not in LEFT_OUT)
    names = {field.name for field in fields}
    notes = [
        f"{field['name']} ({field['type']}) {LEFT_OUT[field['type']]}."
        for field in found["fields"]
        if field["type"] in LEFT_OUT
    ]
    computed = [field.name for field in fields if field.computed]
    if computed:
        notes.append(
            f"Formulas change without a trace that a window could see: {', '.join(computed)}."
            " Read the whole stream again now and then when they are mapped."
        )
    cursor = head.cursor if CURSOR in names else None
    if cursor is None:
        notes.append(
            "Salesforce does not tell what changes in this object: every run reads all of it."
        )
    return Stream(
        name=head.name,
        key=head.key,
        fields=fields,
        label=head.label,
        cursor=cursor,
        deletes=head.deletes if cursor is not None else DeleteStrategy.SNAPSHOT,
        creatable=head.creatable,
        updatable=head.updatable,
        deletable=head.deletable,
        compare_and_set=head.compare_and_set,
        notes=tuple(notes),
    )


def _field(found: Mapping[str, Any]) -> StreamField:
    choices = tuple(
        value["value"] for value in found.get("picklistValues") or () if value.get("active", True)
    )
    return StreamField(
        name=found["name"],
        kind=kind_of(found["type"], restricted=bool(found.get("restrictedPicklist"))),
        label=found.get("label", ""),
        nullable=bool(found.get("nillable", True)),
        creatable=bool(found.get("createable")),
        updatable=bool(found.get("updateable")),
        computed=bool(found.get("calculated")),
        external_id=bool(found.get("externalId")),
        unique=bool(found.get("unique")) or found["type"] == "id",
        max_length=found.get("length") or None,
        scale=found.get("scale") if found["type"] in ("double", "currency", "percent") else None,
        choices=choices,
        refers_to=tuple(found.get("referenceTo") or ()),
    )

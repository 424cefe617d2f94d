"""`deleted` and `asOf` -> the `View` of a list or record, and what cannot be asked beside them."""

from collections.abc import Iterator
from dataclasses import replace

from hubblewave_pipelines.core.entity import Field, FieldKind
from hubblewave_pipelines.core.given import Given
from hubblewave_pipelines.core.query import (
    DELETED_AT,
    PRESENT,
    All,
    AnyOf,
    Deleted,
    Filter,
    LinkedFrom,
    Not,
    Query,
    Related,
    Selection,
    View,
)
from hubblewave_pipelines.core.values import from_text

PARAMETERS = ("deleted", "asOf")
_INSTANT = Field(id="asof", name="asOf", kind=FieldKind.DATETIME)


def read_view(found: Given) -> View:
    """The view a request asks for. Faults go to `found`."""
    word = found.text("deleted")
    if word is not None and word not in list(Deleted):
        found.fault("deleted", "enum", f"must be one of {', '.join(Deleted)}")
        return PRESENT
    deleted = Deleted.EXCLUDE if word is None else Deleted(word)
    text = found.text("asOf")
    if text is None:
        return View(deleted)
    if deleted is not Deleted.EXCLUDE:
        found.fault("asOf", "exclusive", "asOf and deleted exclude each other")
    instant = found.read("asOf", lambda: from_text(_INSTANT, text))
    return View(as_of=instant)  # type: ignore[arg-type]


def _parts(found: Filter) -> Iterator[Filter]:
    yield found
    if isinstance(found, Not):
        yield from _parts(found.part)
    elif isinstance(found, All | AnyOf):
        for part in found.parts:
            yield from _parts(part)


def refuse_relations(found: Given, query: Query) -> None:
    """Faults for what a view of the past cannot show: relations are known as they are now only."""
    if query.view.present:
        return
    name = "deleted" if query.view.as_of is None else "asOf"
    why = f"cannot be combined with {name}: what records refer to is known as of now only"
    if query.related:
        found.fault("expand", "exclusive", f"expand {why}")
    if any(key.path for key in query.sort):
        found.fault("sort", "exclusive", f"sorting along relations {why}")
    if any(isinstance(part, Related) for part in _parts(query.filter)):
        found.fault(name, "exclusive", f"a condition on related records {why}")
    if any(isinstance(part, LinkedFrom) for part in _parts(query.filter)):
        found.fault(name, "exclusive", f"{name} is for lists of an entity, not of related records")


def seen(view: View, selection: Selection) -> Selection:
    """What is shown of a record in a view: of deleted ones also when that was."""
    if view.deleted is Deleted.EXCLUDE:
        return selection
    return replace(selection, fields=(*selection.fields, DELETED_AT))


def loosened(query: Query) -> Query:
    """The query with every value as one that may be missing, as in the past it may."""
    if query.view.present:
        return query
    keys = tuple(
        key
        if key.column.physical == "id"
        else replace(key, column=replace(key.column, nullable=True))
        for key in query.sort
    )
    return replace(query, sort=keys)

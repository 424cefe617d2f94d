"""Laws of cursors: what was sealed comes back, and nothing else does."""

import base64
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hubblewave_pipelines.core.cursor import Seal, page_info
from hubblewave_pipelines.core.entity import Catalog, Entity, Field, FieldKind
from hubblewave_pipelines.core.errors import CursorMismatch
from hubblewave_pipelines.core.parameters import parse_query
from hubblewave_pipelines.core.query import Page, Query

ENTITY = Entity(
    id="aaaaaaaa",
    slug="things",
    name="Thing",
    plural="Things",
    schema="t_bbbbbbbb",
    fields=(
        Field(id="cccccccc", name="name", kind=FieldKind.TEXT),
        Field(id="dddddddd", name="count", kind=FieldKind.INTEGER),
    ),
)
SECRET = b"tenant one"
QUERIES = (
    "",
    "sort=name",
    "sort=-name",
    "sort=name.nullsFirst",
    "sort=count",
    "sort=-updatedAt",
    "filter[name]=a",
    "filter[name][ne]=a",
    "filter[name]=b",
    'where={"not":{"name":"a"}}',
    'where={"or":[{"name":"a"},{"count":1}]}',
    'where={"and":[{"name":"a"},{"count":1}]}',
)


def catalog(entity: Entity) -> Catalog:
    return Catalog(UUID(int=0), 1, (entity,))


def query(text: str) -> Query:
    given = [tuple(part.split("=", 1)) for part in text.split("&") if part]
    return parse_query(ENTITY, given, secret=SECRET, catalog=catalog(ENTITY))  # type: ignore[arg-type]


places = st.lists(st.none() | st.text(st.characters(codec="utf-8")), min_size=2, max_size=2)


@given(values=places, backward=st.booleans())
def test_a_cursor_names_the_place_it_was_made_for(values: list[str | None], backward: bool) -> None:
    seal = Seal(SECRET, query("sort=name"))
    position = seal.position(seal.cursor(values), backward=backward)
    assert position.values == tuple(values)
    assert position.backward is backward


@given(values=places, at=st.integers(0), change=st.integers(1, 255))
def test_a_cursor_with_any_byte_changed_is_refused(
    values: list[str | None], at: int, change: int
) -> None:
    seal = Seal(SECRET, query("sort=name"))
    cursor = seal.cursor(values)
    raw = bytearray(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    raw[at % len(raw)] ^= change
    with pytest.raises(CursorMismatch):
        seal.position(base64.urlsafe_b64encode(bytes(raw)).decode().rstrip("="), backward=False)


@given(text=st.text(max_size=80))
def test_arbitrary_text_is_no_cursor(text: str) -> None:
    with pytest.raises(CursorMismatch):
        Seal(SECRET, query("")).position(text, backward=False)


@given(made=st.sampled_from(QUERIES), used=st.sampled_from(QUERIES))
def test_a_cursor_of_another_sort_or_filter_is_refused(made: str, used: str) -> None:
    assume(made != used)
    cursor = Seal(SECRET, query(made)).cursor(["a"] * len(query(made).sort))
    with pytest.raises(CursorMismatch):
        Seal(SECRET, query(used)).position(cursor, backward=False)


def test_a_cursor_of_another_tenant_or_entity_is_refused() -> None:
    mine = query("")
    cursor = Seal(SECRET, mine).cursor(["a"])
    with pytest.raises(CursorMismatch):
        Seal(b"tenant two", mine).position(cursor, backward=False)
    other = replace(mine, entity=replace(ENTITY, id="eeeeeeee"))
    with pytest.raises(CursorMismatch):
        Seal(SECRET, other).position(cursor, backward=False)


def test_renaming_a_field_breaks_no_cursor() -> None:
    cursor = Seal(SECRET, query("sort=name&filter[name]=a")).cursor(["a", "b"])
    renamed = replace(ENTITY, fields=(replace(ENTITY.fields[0], name="title"), ENTITY.fields[1]))
    given = [("sort", "title"), ("filter[title]", "a"), ("after", cursor)]
    found = parse_query(renamed, given, secret=SECRET, catalog=catalog(renamed))
    assert found.position is not None
    assert found.position.values == ("a", "b")


def test_the_size_of_a_page_may_change_on_the_way() -> None:
    cursor = Seal(SECRET, query("pageSize=5")).cursor(["a"])
    assert query(f"pageSize=9&after={cursor}").position is not None


def test_a_page_without_items_has_no_cursors() -> None:
    empty = Page(items="[]", shown=0, more=False, first=None, last=None, total=0)
    info = page_info(query("page=3"), empty, SECRET)
    assert (info["startCursor"], info["endCursor"], info["totalPages"]) == (None, None, 0)
    assert (info["currentPage"], info["hasPreviousPage"], info["hasNextPage"]) == (3, True, False)

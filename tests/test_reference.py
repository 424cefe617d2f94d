"""The generated reference pages say what the code does now."""

from pathlib import Path

import pytest

from hubblewave_pipelines.commands import reference

FOLDER = Path(__file__).parent.parent / "docs" / "reference"


@pytest.mark.parametrize("name", reference.PAGES)
def test_a_reference_page_is_current(name: str) -> None:
    stale = f"docs/reference/{name} is stale: run `hubblewave reference docs/reference`"
    assert (FOLDER / name).read_text() == reference.PAGES[name](), stale

"""Component states in PostgreSQL: pinned versions, and a copy for when the database is down."""

import threading
from pathlib import Path

import pytest

from hubblewave_pipelines.core.errors import NotFound
from hubblewave_pipelines.definitions.defs_state import PgDefsStateStorage

NOWHERE = "postgresql://hubblewave@127.0.0.1:1/none"


@pytest.fixture
def copy_dir(tmp_path: Path) -> str:
    return str(tmp_path / "copy")


def test_a_stored_state_becomes_the_newest_and_old_ones_stay_readable(
    database_url: str, tmp_path: Path
) -> None:
    storage = PgDefsStateStorage(database_url)
    storage.store("graph", "v1", b"one")
    storage.store("graph", "v2", b"two")
    assert storage.get_latest_version("graph") == "v2"
    storage.download_state_to_path("graph", "v1", tmp_path / "state")
    assert (tmp_path / "state").read_bytes() == b"one"


def test_nothing_stored_is_no_state(database_url: str) -> None:
    assert PgDefsStateStorage(database_url).get_latest_defs_state_info() is None


def test_an_unknown_version_is_named_in_the_error(database_url: str, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="No state v9 of graph"):
        PgDefsStateStorage(database_url).download_state_to_path("graph", "v9", tmp_path / "state")


def test_refreshes_of_different_keys_at_once_lose_none(database_url: str) -> None:
    storage = PgDefsStateStorage(database_url)
    threads = [
        threading.Thread(target=storage.store, args=(f"key-{n}", "v1", b"x")) for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    info = storage.get_latest_defs_state_info()
    assert info is not None
    assert sorted(info.info_mapping) == [f"key-{n}" for n in range(8)]


def test_a_key_can_be_forgotten(database_url: str) -> None:
    storage = PgDefsStateStorage(database_url)
    storage.store("graph", "v1", b"x")
    storage.set_latest_version("graph", None)
    storage.set_latest_version("graph", None)
    assert storage.get_latest_version("graph") is None


def test_the_last_known_state_loads_while_the_database_is_down(
    database_url: str, copy_dir: str, tmp_path: Path
) -> None:
    up = PgDefsStateStorage(database_url, copy_dir)
    up.store("graph", "v1", b"one")
    up.get_latest_defs_state_info()
    up.download_state_to_path("graph", "v1", tmp_path / "seen")
    down = PgDefsStateStorage(NOWHERE, copy_dir)
    assert down.get_latest_version("graph") == "v1"
    down.download_state_to_path("graph", "v1", tmp_path / "state")
    assert (tmp_path / "state").read_bytes() == b"one"


def test_a_database_that_was_never_seen_shows_an_empty_graph(copy_dir: str) -> None:
    assert PgDefsStateStorage(NOWHERE, copy_dir).get_latest_defs_state_info() is None
    assert PgDefsStateStorage(NOWHERE).get_latest_defs_state_info() is None

"""The merged log: every line once, in order, under its name, whatever the chunks it came in."""

import io
import os
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hubblewave_pipelines.supervisor import logs
from hubblewave_pipelines.supervisor.logs import Output

LINES = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n\r\x1b"), max_size=40))


def logged(directory: Path, name: str) -> list[str]:
    """The lines of a file without their time stamps."""
    text = (directory / f"{name}.log").read_text()
    return [line.split(" ", 1)[1] for line in text.split("\n")[:-1]]


@given(lines=LINES, cut=st.integers(1, 9))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
def test_lines_arrive_whole_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], cut: int
) -> None:
    directory = tmp_path_factory.mktemp("logs")
    stream = io.StringIO()
    output = Output(directory, stream, colour=False)
    pipe = output.pipe("child")
    content = "".join(f"{line}\n" for line in lines).encode()
    for start in range(0, len(content), cut):
        os.write(pipe, content[start : start + cut])
    output.close()
    assert stream.getvalue() == "".join(f"child    | {line}\n" for line in lines)
    if lines:
        assert logged(directory, "child") == lines


def test_a_last_line_without_its_end_is_not_lost(tmp_path: Path) -> None:
    stream = io.StringIO()
    output = Output(tmp_path, stream, colour=False)
    os.write(output.pipe("child"), b"Killed")
    output.close()
    assert stream.getvalue() == "child    | Killed\n"


def test_colours_of_children_reach_neither_files_nor_pipes(tmp_path: Path) -> None:
    stream = io.StringIO()
    output = Output(tmp_path, stream, colour=False)
    os.write(output.pipe("child"), b"\x1b[32mgreen\x1b[0m\n")
    output.close()
    assert stream.getvalue() == "child    | green\n"
    assert logged(tmp_path, "child") == ["green"]


def test_a_line_without_end_does_not_fill_the_memory(tmp_path: Path) -> None:
    stream = io.StringIO()
    output = Output(tmp_path, stream, colour=False)
    pipe = output.pipe("child")
    for _ in range(20):
        os.write(pipe, b"x" * 60_000)
    output.close()
    pieces = logged(tmp_path, "child")
    assert len(pieces) > 5
    assert sum(map(len, pieces)) == 1_200_000


def test_files_rotate_and_old_ones_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_FILE_BYTES", 1_000)
    output = Output(tmp_path, io.StringIO(), colour=False)
    for number in range(300):
        output.say(f"line {number}")
    output.close()
    assert {path.name for path in tmp_path.iterdir()} == {
        "up.log",
        "up.log.1",
        "up.log.2",
        "up.log.3",
    }
    assert logged(tmp_path, "up")[-1] == "line 299"
    assert all(path.stat().st_size <= 1_000 for path in tmp_path.iterdir())


def test_a_reader_that_goes_away_stops_nothing(tmp_path: Path) -> None:
    stream = io.StringIO()
    output = Output(tmp_path, stream, colour=False)
    output.say("one")
    stream.close()
    output.say("two")
    output.close()
    assert logged(tmp_path, "up") == ["one", "two"]


def test_each_line_of_a_file_says_when(tmp_path: Path) -> None:
    output = Output(tmp_path, io.StringIO(), colour=False)
    output.say("now")
    output.close()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ now\n", (tmp_path / "up.log").read_text())

"""The document of a tenant that has everything, before the rules of other people's linters."""

import json
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import validate

from tests.facade import rich
from tests.facade.conftest import Standing
from tests.plugins import node

SPECTRAL = "node_modules/@stoplight/spectral-cli/dist/index.js"
REDOCLY = "node_modules/@redocly/cli/bin/cli.js"
FORMS = ("3.0.3", "3.1")


@pytest.fixture(scope="module")
def written(standing: Standing, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The document in each form, as files."""
    files = []
    directory = tmp_path_factory.mktemp("documents")
    with standing.client() as client:
        rich.define(client)
        for form in FORMS:
            answer = client.get("/api/v1/openapi.json", params={"version": form})
            files.append(directory / f"openapi-{form}.json")
            files[-1].write_bytes(answer.content)
    return files


def of(form: str, written: list[Path]) -> Any:
    return json.loads(written[FORMS.index(form)].read_bytes())


@pytest.mark.parametrize("form", FORMS)
def test_it_is_valid(written: list[Path], form: str) -> None:
    validate(of(form, written))


def test_spectral_finds_nothing(written: list[Path], tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text('extends: ["spectral:oas"]\n')
    ran = node.run(SPECTRAL, "lint", "-r", str(rules), "-f", "json", *map(str, written))
    assert ran.returncode in (0, 1), ran.stderr
    found = [
        (one["code"], one["path"], one["message"])
        for one in json.JSONDecoder().raw_decode(ran.stdout)[0]
    ]
    assert found == []


@pytest.mark.parametrize("form", FORMS)
def test_redocly_finds_nothing_but_that_the_data_has_no_licence(
    written: list[Path], tmp_path: Path, form: str
) -> None:
    """Its `recommended` rules; the licence of a company's own data is not ours to name, and a word
    of the platform wins over an id at its place (`/webhooks/dead-letters/{letter_id}`)."""
    rules, asked = tmp_path / "redocly.yaml", str(written[FORMS.index(form)])
    rules.write_text("extends: [recommended]\nrules:\n  no-ambiguous-paths: off\n")
    ran = node.run(REDOCLY, "lint", "--config", str(rules), "--format", "json", asked)
    assert ran.returncode in (0, 1), ran.stderr
    shown = json.loads(ran.stdout)
    found = [(one["ruleId"], one["message"]) for one in shown["problems"]]
    assert [rule for rule, _ in found] == ["info-license"], found
    assert shown["totals"]["errors"] == 0


def _paths(part: Any, at: str = "") -> list[tuple[str, Any]]:
    if isinstance(part, dict):
        return [(at, part), *(p for k, v in part.items() for p in _paths(v, f"{at}/{k}"))]
    if isinstance(part, list):
        return [p for n, v in enumerate(part) for p in _paths(v, f"{at}/{n}")]
    return []


def test_the_form_3_1_has_no_word_of_3_0(written: list[Path]) -> None:
    parts = _paths(of("3.1", written))
    assert len(parts) > 1000
    assert [at for at, part in parts if part.get("nullable") is True] == []


def test_every_reference_leads_somewhere(written: list[Path]) -> None:
    whole = of("3.0.3", written)
    for at, part in _paths(whole):
        if not isinstance(part.get("$ref"), str):
            continue
        found = whole
        for word in part["$ref"].removeprefix("#/").split("/"):
            assert word in found, (at, part["$ref"])
            found = found[word]

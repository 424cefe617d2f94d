"""House rules as tests: what a reviewer would otherwise have to remember."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hubblewave_pipelines.core import errors, values
from hubblewave_pipelines.core.entity import FieldKind

ROOT = Path(__file__).parent.parent
CODE = sorted([*ROOT.glob("hubblewave_pipelines/**/*.py"), *ROOT.glob("api/**/*.py")])
TESTS = sorted(ROOT.glob("tests/**/*.py"))
VAGUE = {"utils", "util", "helpers", "helper", "common", "manager", "base", "service", "misc"}


def _named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", [*CODE, *TESTS], ids=_named)
def test_a_module_says_first_what_it_owns(path: Path) -> None:
    if path.name == "__init__.py" and not path.read_text().strip():
        return
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    assert docstring, f"{_named(path)} has no module docstring"
    assert len(docstring.splitlines()[0]) <= 120


def test_no_module_is_named_for_nothing() -> None:
    vague = [_named(path) for path in [*CODE, *TESTS] if path.stem in VAGUE]
    assert vague == []


def test_no_module_outgrows_one_idea() -> None:
    long = {_named(path): len(path.read_text().splitlines()) for path in CODE}
    assert {name: lines for name, lines in long.items() if lines > 400} == {}


def test_folders_of_tests_are_no_packages_and_names_are_unique() -> None:
    # `tests` itself is one, lest a package of that name that some library installs comes first.
    assert list(ROOT.glob("tests/**/__init__.py")) == [ROOT / "tests" / "__init__.py"]
    names = [path.name for path in TESTS if path.name.startswith("test_")]
    assert sorted(names) == sorted(set(names))


def _calls(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield node.func.attr, node.lineno


def test_only_the_database_module_ends_transactions() -> None:
    """Elsewhere a commit would split what the caller meant to be one transaction."""
    allowed = {
        "hubblewave_pipelines/storage/database.py",
        "hubblewave_pipelines/storage/migrate.py",
    }
    found = [
        f"{_named(path)}:{line}"
        for path in CODE
        if _named(path) not in allowed
        for name, line in _calls(ast.parse(path.read_text()))
        if name in ("commit", "rollback")
    ]
    assert found == []


SQL_STARTS = (
    "select ",
    "insert into",
    "update ",
    "delete from",
    "create table",
    "alter table",
    "drop ",
)


def _sql_literals(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text())
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            text = node.value.strip().lower()
            if text.startswith(SQL_STARTS) and any(
                word in text for word in (" from ", " set ", " values", "(", "hubblewave.")
            ):
                yield f"{_named(path)}:{node.lineno}"


def test_sql_about_platform_data_lives_in_storage() -> None:
    """Dagster's own database and server set-up are not platform data."""
    allowed = ("hubblewave_pipelines/storage/", "hubblewave_pipelines/supervisor/")
    dagsters_own = {"hubblewave_pipelines/definitions/retention.py"}
    found = [
        place
        for path in CODE
        if not _named(path).startswith(allowed) and _named(path) not in dagsters_own
        for place in _sql_literals(path)
    ]
    assert found == []


def _error_classes() -> list[type[errors.PlatformError]]:
    found, queue = [], [errors.PlatformError]
    while queue:
        error = queue.pop()
        found.append(error)
        queue.extend(error.__subclasses__())
    return found


def test_every_error_code_is_unique_and_every_class_says_when_it_is_raised() -> None:
    classes = _error_classes()
    codes = [error.code for error in classes]
    assert sorted(codes) == sorted(set(codes))
    assert [error.__name__ for error in classes if not error.__doc__] == []


def test_every_table_keyed_by_kind_knows_every_kind() -> None:
    from hubblewave_pipelines.storage import ddl

    tables = {
        "values from text": values._FROM_TEXT,
        "JSON types": values._JSON_TYPE,
        "SQL types": ddl.SQL_TYPES,
    }
    incomplete = {name: set(FieldKind) - set(table) for name, table in tables.items()}
    assert {name: kinds for name, kinds in incomplete.items() if kinds} == {}


def test_import_contracts_hold() -> None:
    linted = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_the_facade_runs_without_dagster_in_its_process() -> None:
    """Dagster costs 0.8 CPU-seconds and 60 MB a process, and may be down while the API is not."""
    program = "import api.app, sys; assert 'dagster' not in sys.modules, 'dagster was imported'"
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr

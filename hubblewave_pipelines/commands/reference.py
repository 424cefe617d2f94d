"""`hubblewave reference`: the pages under docs/reference, made from the code they describe."""

import ast
from pathlib import Path

import hubblewave_pipelines
from hubblewave_pipelines.core.errors import PlatformError
from hubblewave_pipelines.settings import Settings


def _errors(error: type[PlatformError]) -> list[type[PlatformError]]:
    return [error, *(below for child in error.__subclasses__() for below in _errors(child))]


def errors_page() -> str:
    """Every error the API can answer, as Markdown."""
    lines = [
        "# Errors",
        "",
        "Every refusal is `application/problem+json` (RFC 9457) with `type`, `title`, `status`, `detail`, `code`,",
        "`requestId` and, where single inputs are to blame, `errors[{pointer|parameter, code, detail}]`.",
        "`retry` says that the same request may work later.",
        "",
        "| code | status | retry | when |",
        "|---|---|---|---|",
    ]
    known = sorted(_errors(PlatformError), key=lambda error: (error.status, error.code))
    for error in known:
        when = " ".join((error.__doc__ or "").split())
        lines.append(f"| `{error.code}` | {error.status} | {error.recovery.value} | {when} |")
    return "\n".join(lines) + "\n"


def settings_page() -> str:
    """Every setting, as Markdown."""
    lines = [
        "# Settings",
        "",
        "Environment variables, read once when a process starts. `hubblewave check` says which are wrong.",
        "",
        "| variable | default | meaning |",
        "|---|---|---|",
    ]
    for name, field in Settings.model_fields.items():
        default = field.get_default(call_default_factory=True)
        shown = "unset" if default is None else f"`{default}`"
        lines.append(f"| `HUBBLEWAVE_{name.upper()}` | {shown} | {field.description} |")
    return "\n".join(lines) + "\n"


def modules_page() -> str:
    """Every module and what it owns, which is the first line of its docstring, as Markdown."""
    root = Path(hubblewave_pipelines.__file__).parents[1]
    lines = [
        "# Modules",
        "",
        "What each module owns; who may import whom is in ../architecture.md.",
    ]
    for package in ("hubblewave_pipelines", "api"):
        folders = sorted({path.parent for path in (root / package).rglob("*.py")})
        for folder in folders:
            lines += ["", f"## {folder.relative_to(root)}", ""]
            for path in sorted(folder.glob("*.py")):
                owns = (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]
                name = "(package)" if path.stem == "__init__" else path.stem
                lines.append(f"- `{name}`: {owns}")
    return "\n".join(lines) + "\n"


PAGES = {"errors.md": errors_page, "modules.md": modules_page, "settings.md": settings_page}


def write(folder: Path) -> list[Path]:
    """Write every page into `folder`; returns those that changed."""
    folder.mkdir(parents=True, exist_ok=True)
    changed = []
    for name, page in PAGES.items():
        path = folder / name
        if not path.exists() or path.read_text() != page():
            path.write_text(page())
            changed.append(path)
    return changed

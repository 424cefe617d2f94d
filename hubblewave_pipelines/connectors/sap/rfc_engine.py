"""Which `pyrfc` this machine has, resolved when it is asked for: pyrfcx, a pyrfc built here, or none; and why."""

from dataclasses import dataclass
from importlib import import_module, metadata
from types import ModuleType

# Both install a module of the same surface; pyrfcx under its own name as well.
MODULES = ("pyrfcx", "pyrfc")


@dataclass(frozen=True, slots=True)
class Engine:
    """`module` is None where there is none; `reason` says which was taken, or why none was."""

    module: ModuleType | None
    name: str
    reason: str


def resolve() -> Engine:
    reasons = []
    for name in MODULES:
        try:
            module = import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                reasons.append(f"{name} lacks {error.name}")
            continue
        except (ImportError, OSError) as error:  # the SDK's libraries are not where it looks
            reasons.append(f"{name} does not load: {error}")
            continue
        if not hasattr(module, "Connection"):
            reasons.append(f"{name} has no Connection")
            continue
        return Engine(module, name, f"{_package(name)} is installed.")
    why = "; ".join(reasons) if reasons else "neither pyrfcx nor pyrfc is installed"
    return Engine(None, "none", f"{why[0].upper()}{why[1:]}.")


def _package(module: str) -> str:
    """The distribution that brought the module, with its version."""
    for name in metadata.packages_distributions().get(module, ()):
        return f"{name} {metadata.version(name)}"
    return module

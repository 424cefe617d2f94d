"""Which types of connectors there are: every package beside this module that has a TYPE."""

import pkgutil
from functools import lru_cache
from importlib import import_module
from types import MappingProxyType
from typing import cast

from hubblewave_pipelines import connectors
from hubblewave_pipelines.connectors.protocol import ConnectorModule
from hubblewave_pipelines.core.errors import Misconfigured
from hubblewave_pipelines.core.stream import ConnectorType
from hubblewave_pipelines.outbound.manners import Manners


@lru_cache(1)
def modules() -> MappingProxyType[str, ConnectorModule]:
    """The vendors' packages by the name of their type."""
    found = {}
    for info in pkgutil.iter_modules(connectors.__path__):
        if info.ispkg:
            package = import_module(f"{connectors.__name__}.{info.name}")
            if hasattr(package, "TYPE"):
                found[package.TYPE.name] = cast(ConnectorModule, package)
    return MappingProxyType(dict(sorted(found.items())))


def module(name: str) -> ConnectorModule:
    """Raises Misconfigured for a type that this version does not have."""
    try:
        return modules()[name]
    except KeyError as error:
        raise Misconfigured(f"This version has no connectors of type {name}.") from error


def types() -> list[ConnectorType]:
    return [each.TYPE for each in modules().values()]


def manners(name: str) -> Manners:
    """What the vendor's package tells the session; the usual when it says nothing."""
    found: Manners = getattr(module(name), "MANNERS", Manners())
    return found

"""The check of a connector to SAP: what was looked at, what was found, and what an admin can do about it."""

from collections.abc import Iterator
from datetime import timedelta

from hubblewave_pipelines.connectors.sap.catalog import Services
from hubblewave_pipelines.connectors.sap.config import Config
from hubblewave_pipelines.connectors.sap.rfc_streams import Tables
from hubblewave_pipelines.core.errors import (
    ConnectionRefusedByPolicy,
    PlatformError,
    Unauthorized,
    VendorRefused,
)
from hubblewave_pipelines.core.stream import CheckReport, Finding, Level

_TOLERATED_SKEW = timedelta(seconds=60)


def check(config: Config, services: Services, tables: Tables) -> CheckReport:
    findings = [*_system(config, services), *tables.check()]
    seconds = services.clock.skew_seconds
    skew = None if seconds is None else timedelta(seconds=seconds)
    if skew is not None:
        findings.append(_clock(skew))
    return CheckReport(tuple(findings), skew, str(config.zone))


def _system(config: Config, services: Services) -> Iterator[Finding]:
    try:
        chosen = services.chosen()
    except Unauthorized as error:
        client = f" of client {config.client}" if config.client else ""
        yield Finding("reachable", Level.OK, "The system answers.")
        yield Finding(
            "identity",
            Level.ERROR,
            f"{error.detail} Check the user{client} in transaction SU01: locked, password initial or"
            " expired, or of another client.",
        )
        return
    except ConnectionRefusedByPolicy as error:
        yield Finding("reachable", Level.ERROR, error.detail)
        return
    except PlatformError as error:
        yield Finding("reachable", Level.ERROR, error.detail)
        return
    yield Finding("reachable", Level.OK, "The system answers.")
    yield Finding(
        "identity", Level.OK, f"Logged on{f' to client {config.client}' if config.client else ''}."
    )
    if not chosen:
        yield Finding(
            "services",
            Level.WARNING,
            "No OData service fits `services`: activate them (/IWFND/MAINT_SERVICE) and give the user"
            " S_SERVICE for them, or name their paths where the catalog may not be read.",
        )
        return
    for name, path in sorted(chosen.items()):
        yield _service(services, name, path)


def _service(services: Services, name: str, path: str) -> Finding:
    try:
        sets = services.at(path).metadata.sets
    except VendorRefused as error:
        return Finding(
            "permissions",
            Level.ERROR,
            f"{name}: the system answers {error.answered} to its $metadata; the user needs S_SERVICE"
            " for the service and the authorizations of the application behind it.",
        )
    except PlatformError as error:
        return Finding("permissions", Level.ERROR, f"{name}: {error.detail}")
    tracked = sum(part.tracks for part in sets.values())
    told = f", {tracked} with delta links" if tracked else ""
    if "/odata4/" in path and name not in services.named():
        told += f"; `{name}={path}` in `services` saves two requests of each run"
    return Finding("services", Level.OK, f"{name}: {len(sets)} entity sets{told}.")


def _clock(skew: timedelta) -> Finding:
    seconds = skew.total_seconds()
    if abs(skew) <= _TOLERATED_SKEW:
        return Finding("clock", Level.OK, f"The system's clock is {seconds:+.0f} s from ours.")
    return Finding(
        "clock",
        Level.WARNING,
        f"The system's clock is {seconds:+.0f} s from ours. Windows follow its clock, so that nothing"
        " is lost; freshness will look wrong. Synchronise both by NTP.",
    )

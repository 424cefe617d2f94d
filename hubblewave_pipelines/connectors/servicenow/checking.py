"""The check of a connector to ServiceNow: what was looked at, what was found, what an admin can do about it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from hubblewave_pipelines.connectors.servicenow.table_api import Rows, TableApi
from hubblewave_pipelines.core.errors import PlatformError, Unauthorized, VendorRefused
from hubblewave_pipelines.core.stream import CheckReport, Finding, Level

_TOLERATED_SKEW = timedelta(seconds=60)
_DESCRIBING = ("sys_db_object", "sys_dictionary", "sys_choice")
_AUDITS = ("sys_audit_delete", "sys_audit")
_PROBED = "sys_user"
_LOOKED_AT = 1_000
_NEWEST = 20  # of which an ACL may hide some


def check(api: TableApi) -> CheckReport:
    try:
        first = api.rows(
            _PROBED, "ORDERBYDESCsys_updated_on", ("sys_id", "sys_updated_on"), _NEWEST
        )
    except Unauthorized as error:
        return CheckReport(
            (
                _fine("reachable", "The instance answers."),
                Finding("identity", Level.ERROR, error.detail),
            )
        )
    except VendorRefused as error:
        detail = (
            f"{error.detail} The account signed in, and may not read {_PROBED}: give it a role for the"
            " REST API (rest_api_explorer, or snc_platform_rest_api_access where that is enforced) and"
            " read access to the tables."
        )
        return CheckReport(
            (
                _fine("reachable", "The instance answers."),
                Finding("permissions", Level.ERROR, detail),
            )
        )
    except PlatformError as error:
        return CheckReport((Finding("reachable", Level.ERROR, error.detail),))
    skew = first.at - datetime.now(UTC)
    findings = [
        _fine("reachable", "The instance answers."),
        _fine("identity", "The account is signed in."),
        _clock(skew),
    ]
    try:
        findings += [
            _permissions(api, _DESCRIBING, _describing),
            _permissions(api, _AUDITS, _audits),
        ]
        findings += [_time_zone(api, first), _acls(api)]
    except PlatformError as error:
        findings.append(Finding("permissions", Level.ERROR, error.detail))
    return CheckReport(tuple(findings), skew, "UTC")


def _fine(what: str, detail: str) -> Finding:
    return Finding(what, Level.OK, detail)


def _clock(skew: timedelta) -> Finding:
    seconds = skew.total_seconds()
    if abs(skew) <= _TOLERATED_SKEW:
        return _fine("clock", f"The instance's clock is {seconds:+.0f} s from ours.")
    return Finding(
        "clock",
        Level.WARNING,
        f"The instance's clock is {seconds:+.0f} s from ours. Windows follow its clock, so that nothing"
        " is lost; freshness will look wrong. Synchronise ours by NTP.",
    )


def _permissions(
    api: TableApi, tables: tuple[str, ...], told: Callable[[list[str]], Finding]
) -> Finding:
    missing = []
    for table in tables:
        try:
            api.rows(table, "", ("sys_id",), 1)
        except VendorRefused:
            missing.append(table)
    return told(missing)


def _describing(missing: list[str]) -> Finding:
    if not missing:
        return _fine("permissions", "Tables, columns and choices can be read.")
    return Finding(
        "permissions",
        Level.ERROR,
        f"The account may not read {', '.join(missing)}: without them no table can be described. Give"
        " it read ACLs on them.",
    )


def _audits(missing: list[str]) -> Finding:
    if not missing:
        return _fine("deletes", "The audits of deletes can be read.")
    return Finding(
        "deletes",
        Level.WARNING,
        f"The account may not read {', '.join(missing)}: deletes then show only by listing all keys.",
    )


def _time_zone(api: TableApi, first: Rows) -> Finding:
    """The newest stamp, given back as a literal, must find its own record and nothing newer."""
    if not first.rows:
        return Finding(
            "time_zone", Level.WARNING, f"{_PROBED} is empty: how literals are read is not known."
        )
    stamp = first.rows[0]["sys_updated_on"]
    same = api.count(_PROBED, f"sys_updated_on={stamp}")
    if same:
        return _fine("time_zone", "Literals in queries are read as UTC, as stamps in answers are.")
    return Finding(
        "time_zone",
        Level.ERROR,
        f"The instance does not find a record by its own stamp {stamp}: it reads literals in another"
        " zone than it shows. Set the account's time zone to GMT.",
    )


def _acls(api: TableApi) -> Finding:
    """Whether as many records can be seen as the instance looks at; its limit comes before its ACLs."""
    found = api.rows(_PROBED, "ORDERBYsys_id", ("sys_id",), _LOOKED_AT, counted=True)
    looked_at = min(found.total or 0, _LOOKED_AT)
    if len(found.rows) >= looked_at:
        return _fine("acl", f"No ACL hides records of {_PROBED} from the account.")
    return Finding(
        "acl",
        Level.WARNING,
        f"Of {looked_at} records of {_PROBED} the account sees {len(found.rows)}: ACLs hide the others."
        " What it cannot see is not synced.",
    )

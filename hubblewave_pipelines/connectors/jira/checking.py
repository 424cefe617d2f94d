"""The check of a connector to Jira: what was looked at, what was found, what an admin can do about it."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hubblewave_pipelines.connectors.jira.config import Config
from hubblewave_pipelines.connectors.jira.identity import Account
from hubblewave_pipelines.connectors.jira.jql import EVERYTHING
from hubblewave_pipelines.connectors.jira.searching import Searcher
from hubblewave_pipelines.core.errors import PlatformError, Unauthorized, VendorRefused
from hubblewave_pipelines.core.stream import CheckReport, Finding, Level
from hubblewave_pipelines.outbound.session import Session

_TOLERATED_SKEW = timedelta(seconds=60)


def check(config: Config, session: Session, search: Searcher) -> CheckReport:
    findings: list[Finding] = []
    account: Account | None = None
    try:
        findings += _deployment(config, session)
        account = search.identity.ask()
        findings.append(_fine("identity", f"Signed in as {account.shown}."))
        findings.append(_clock(account.at - datetime.now(UTC)))
        findings.append(
            _fine(
                "time_zone",
                f"The account's time zone is {account.time_zone}. Windows are asked for in epoch"
                " milliseconds, which mean the same in every zone.",
            )
        )
        findings += _permissions(config, session, search)
    except Unauthorized as error:
        findings.append(Finding("identity", Level.ERROR, error.detail))
    except VendorRefused as error:
        detail = f"{error.detail} Is baseUrl a Jira's, with its context path?"
        what = "permissions" if account else "reachable"
        findings.append(Finding(what, Level.ERROR, detail))
    except PlatformError as error:
        findings.append(
            Finding("permissions" if account else "reachable", Level.ERROR, error.detail)
        )
    skew = None if account is None else account.at - datetime.now(UTC)
    return CheckReport(tuple(findings), skew, None if account is None else account.time_zone)


def _fine(what: str, detail: str) -> Finding:
    return Finding(what, Level.OK, detail)


def _deployment(config: Config, session: Session) -> list[Finding]:
    body: Any = session.request("GET", f"{config.api}/serverInfo").json()
    found = [_fine("reachable", f"Jira {body.get('version', '')} answers.")]
    cloud = body.get("deploymentType") == "Cloud"
    if cloud != config.cloud:
        is_, should = ("Cloud", "cloud") if cloud else ("Data Center", "dataCenter")
        found.append(
            Finding(
                "engine",
                Level.ERROR,
                f"This is Jira {is_}: set deployment to {should} in the config.",
            )
        )
    else:
        found.append(_fine("engine", "Jira Cloud" if cloud else "Jira Data Center"))
    return found


def _clock(skew: timedelta) -> Finding:
    seconds = skew.total_seconds()
    if abs(skew) <= _TOLERATED_SKEW:
        return _fine("clock", f"Jira's clock is {seconds:+.0f} s from ours.")
    return Finding(
        "clock",
        Level.WARNING,
        f"Jira's clock is {seconds:+.0f} s from ours. Windows follow its clock, so that nothing is"
        " lost; freshness will look wrong. Synchronise ours by NTP.",
    )


def _permissions(config: Config, session: Session, search: Searcher) -> list[Finding]:
    answer = session.request(
        "GET", f"{config.api}/mypermissions", params={"permissions": "BROWSE_PROJECTS"}
    )
    body: Any = answer.json()
    browse = (body.get("permissions") or {}).get("BROWSE_PROJECTS") or {}
    if not browse.get("havePermission"):
        return [
            Finding(
                "permissions",
                Level.ERROR,
                "The account may not browse any project: give it Browse projects where issues are to"
                " be synced.",
            )
        ]
    count = search.count(EVERYTHING, cloud=config.cloud)
    if not count:
        return [
            Finding(
                "permissions",
                Level.WARNING,
                "The account sees no issue at all: check Browse projects and issue security.",
            )
        ]
    return [_fine("permissions", f"The account sees about {count} issues.")]

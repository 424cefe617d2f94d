"""What is right and wrong with a connection to Salesforce, in words that an admin can act on."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from hubblewave_pipelines.connectors.salesforce.clock import ServerClock
from hubblewave_pipelines.connectors.salesforce.config import Config
from hubblewave_pipelines.connectors.salesforce.refusals import code_of, explained
from hubblewave_pipelines.core.errors import (
    ConnectionRefusedByPolicy,
    ForeignLink,
    QuotaSpent,
    Unauthorized,
    VendorError,
    VendorRefused,
)
from hubblewave_pipelines.core.stream import CheckReport, Finding, Level
from hubblewave_pipelines.outbound.session import Answer, Session

_SKEW_WARNING, _SKEW_ERROR = timedelta(minutes=1), timedelta(minutes=5)
_LOW_QUOTA = 0.2


class Check:
    def __init__(self, config: Config, session: Session, clock: ServerClock) -> None:
        self._config = config
        self._session = session
        self._clock = clock
        self._findings: list[Finding] = []
        self._zone: str | None = None

    def report(self) -> CheckReport:
        """Stops asking at the first thing without which nothing else can be known."""
        versions = self._asked("reachable", "/services/data/")
        if versions is not None:
            self._version(versions)
            user = self._asked("identity", "/services/oauth2/userinfo")
            if user is not None:
                self._identity(user)
                self._try("quota", f"{self._config.data}/limits", self._quota)
                self._try("permissions", f"{self._config.data}/sobjects", self._permissions)
        self._skew()
        return CheckReport(tuple(self._findings), self._clock.skew, self._zone)

    def _asked(self, what: str, path: str) -> Answer | None:
        try:
            return self._clock.see(self._session.request("GET", path))
        except VendorError as error:
            self._say(*self._failure(what, error))
            return None

    def _try(self, what: str, path: str, look: Callable[[Any], None]) -> None:
        answer = self._asked(what, path)
        if answer is not None:
            look(answer.json())

    def _failure(self, what: str, error: VendorError) -> tuple[str, Level, str]:
        match error:
            case Unauthorized():
                return (
                    "identity",
                    Level.ERROR,
                    f"{error.detail} The connected app must allow the flow, its run-as user must be"
                    " active, and baseUrl must be the org's My Domain.",
                )
            case QuotaSpent():
                return "quota", Level.ERROR, f"{error.detail} Requests count per 24 hours."
            case ConnectionRefusedByPolicy() | ForeignLink():
                return "reachable", Level.ERROR, error.detail
            case VendorRefused() if code_of(error) in (
                "API_DISABLED_FOR_ORG",
                "API_CURRENTLY_DISABLED",
            ):
                return "permissions", Level.ERROR, "The API is not enabled for the org or the user."
            case VendorRefused() if error.answered in (403, 404) and what != "reachable":
                detail = explained(error, self._session).detail
                return what, Level.WARNING, f"Not to be seen with these credentials. {detail}"
        return what, Level.ERROR, error.detail

    def _version(self, answer: Answer) -> None:
        have = [str(found["version"]) for found in answer.json()]
        wanted = self._config.api_version
        self._say("reachable", Level.OK, f"{self._session.base_url} answers.")
        if wanted in have:
            self._say("version", Level.OK, f"REST API {wanted}; the newest is {have[-1]}.")
        else:
            span = f"{have[0]} to {have[-1]}"
            self._say("version", Level.ERROR, f"The org has REST API {span}, not {wanted}.")

    def _identity(self, answer: Answer) -> None:
        user = answer.json()
        self._zone = user.get("zoneinfo")
        self._say(
            "identity",
            Level.OK,
            f"Signed in as {user.get('preferred_username')} of org {user.get('organization_id')}.",
        )

    def _quota(self, limits: dict[str, dict[str, int]]) -> None:
        for name, what in (
            ("DailyApiRequests", "API requests"),
            ("DailyBulkV2QueryJobs", "bulk query jobs"),
        ):
            if name not in limits:
                continue
            most, left = limits[name]["Max"], limits[name]["Remaining"]
            level = Level.OK if left > most * _LOW_QUOTA else Level.WARNING if left else Level.ERROR
            self._say("quota", level, f"{left:,} of {most:,} {what} are left for these 24 hours.")

    def _permissions(self, found: dict[str, Any]) -> None:
        readable = [s for s in found["sobjects"] if s.get("queryable")]
        fed = sum(1 for s in readable if s.get("replicateable"))
        if not readable:
            detail = (
                "The user can read no object: give its profile or a permission set read access."
            )
            self._say("permissions", Level.ERROR, detail)
            return
        self._say(
            "permissions",
            Level.OK,
            f"{len(readable)} objects can be read; Salesforce tells of changes and deletes in {fed}."
            " Records need View All on each object, or sharing hides some of them.",
        )

    def _skew(self) -> None:
        skew = self._clock.skew
        if skew is None:
            return
        size = abs(skew)
        level = (
            Level.OK
            if size < _SKEW_WARNING
            else Level.WARNING
            if size < _SKEW_ERROR
            else Level.ERROR
        )
        detail = f"Salesforce's clock is {skew.total_seconds():+.0f} s from ours."
        if level is not Level.OK:
            detail += " Let this machine keep time (NTP); JWTs are refused past a few minutes."
        self._say("clock", level, detail)

    def _say(self, what: str, level: Level, detail: str) -> None:
        self._findings.append(Finding(what, level, detail))

"""Who Jira takes us for. It answers strangers' searches with nothing and status 200, so that is asked and checked."""

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from hubblewave_pipelines.core.errors import PartialAnswer, Unauthorized
from hubblewave_pipelines.outbound.session import Answer, Session

REASON = "x-seraph-loginreason"
NAMES = ("x-aaccountid", "x-ausername")  # Cloud's header, and Data Center's
_STRANGER = (
    "Jira takes the connector for a stranger and would show it no issues instead of refusing it. Check"
    " the e-mail address and API token (Cloud) or the personal access token (Data Center): revoked,"
    " expired, or of another site."
)


@dataclass(frozen=True, slots=True)
class Account:
    name: str  # accountId on Cloud, user name on Data Center
    shown: str
    time_zone: str
    at: datetime  # Jira's clock


class Identity:
    """Asked once before anything else, and again wherever an answer is silent about who asked."""

    def __init__(self, session: Session, api: str) -> None:
        self._session = session
        self._api = api
        self._account: Account | None = None

    def known(self) -> Account:
        """Raises Unauthorized."""
        return self._account or self.ask()

    def ask(self) -> Account:
        """One request. Raises Unauthorized for strangers."""
        answer = self._session.request("GET", f"{self._api}/myself")
        _refuse_strangers(answer)
        body: Any = answer.json()
        name = body.get("accountId") or body.get("name") if isinstance(body, dict) else None
        if not name:
            raise PartialAnswer("Jira does not say whose account it is (/myself).")
        self._account = Account(
            str(name),
            str(body.get("displayName") or name),
            str(body.get("timeZone") or "UTC"),
            server_time(answer),
        )
        return self._account

    def confirm(self, answer: Answer, *, last: bool) -> None:
        """Whether an answer is for us. One that ends a walk must say so, or Jira is asked.

        Raises Unauthorized.
        """
        _refuse_strangers(answer)
        said = next((answer.headers[name] for name in NAMES if name in answer.headers), None)
        if said == "anonymous" or (said is None and last):
            self.ask()


def _refuse_strangers(answer: Answer) -> None:
    reason = answer.headers.get(REASON, "").upper()
    if "FAILED" in reason or "DENIED" in reason:
        raise Unauthorized(_STRANGER)


def server_time(answer: Answer) -> datetime:
    """Jira's clock; ours where a proxy took the Date header away."""
    try:
        return parsedate_to_datetime(answer.headers.get("date", "")).astimezone(UTC)
    except ValueError:
        return answer.at

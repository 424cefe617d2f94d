"""Logon to the SAP sandbox: basic and bearer credentials, the client, and CSRF tokens bound to a session."""

import base64
import secrets
from datetime import datetime, timedelta
from http.cookies import CookieError, SimpleCookie

SYSTEM, CLIENT = "HW1", "100"
USER, PASSWORD = "HUBBLEWAVE", "Welcome1"
CLIENT_ID, CLIENT_SECRET = "sb-hubblewave", "sandbox-secret"
COOKIE = f"SAP_SESSIONID_{SYSTEM}_{CLIENT}"
_BEARER_LIFE = timedelta(hours=12)


class Logons:
    """Bearer tokens and security sessions by the sandbox's clock."""

    def __init__(self, session_life: timedelta = timedelta(minutes=30)) -> None:
        self.session_life = session_life
        self._bearers: dict[str, datetime] = {}
        self._sessions: dict[str, tuple[str, datetime]] = {}  # id -> CSRF token, end

    def admits(self, authorization: str, now: datetime) -> bool:
        kind, _, value = authorization.partition(" ")
        if kind.lower() == "bearer":
            return self._bearers.get(value, now) > now
        return kind.lower() == "basic" and _decoded(value) == f"{USER}:{PASSWORD}"

    def issue_bearer(self, authorization: str, form: dict[str, str], now: datetime) -> str | None:
        """None when the client's own credentials are wrong. Raises ValueError for another grant."""
        if form.get("grant_type") != "client_credentials":
            raise ValueError("unsupported_grant_type")
        given = f"{form.get('client_id')}:{form.get('client_secret')}"
        _, _, basic = authorization.partition(" ")
        if f"{CLIENT_ID}:{CLIENT_SECRET}" not in (given, _decoded(basic)):
            return None
        token = secrets.token_urlsafe(24)
        self._bearers[token] = now + _BEARER_LIFE
        return token

    def open_session(self, cookies: str, now: datetime) -> tuple[str, str]:
        """The session of these cookies (or a new one) and its CSRF token."""
        known = _session_of(cookies)
        if known in self._sessions and self._sessions[known][1] > now:
            return known, self._sessions[known][0]
        session, token = secrets.token_urlsafe(16), secrets.token_urlsafe(16)
        self._sessions[session] = (token, now + self.session_life)
        return session, token

    def proves(self, cookies: str, token: str, now: datetime) -> bool:
        kept = self._sessions.get(_session_of(cookies))
        return kept is not None and kept[1] > now and secrets.compare_digest(kept[0], token)

    def forget(self, cookies: str) -> None:
        self._sessions.pop(_session_of(cookies), None)

    def forget_bearers(self) -> None:
        self._bearers.clear()


def _decoded(basic: str) -> str:
    try:
        return base64.b64decode(basic).decode()
    except ValueError:
        return ""


def _session_of(cookies: str) -> str:
    try:
        jar: SimpleCookie = SimpleCookie(cookies)
    except CookieError:
        return ""
    return jar[COOKIE].value if COOKIE in jar else ""

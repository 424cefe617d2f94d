"""The retry matrix: what came instead of an answer -> an error in an admin's words, and whether to send again."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from hubblewave_pipelines.core.errors import (
    InDoubt,
    PartialAnswer,
    PlatformError,
    QuotaSpent,
    Unauthorized,
    VendorError,
    VendorRefused,
    VendorUnavailable,
)
from hubblewave_pipelines.core.retry_after import retry_after
from hubblewave_pipelines.outbound.asked import Asked
from hubblewave_pipelines.outbound.manners import Manners

_AGAIN = frozenset({408, 425, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Verdict:
    """`wish` is the system's Retry-After in seconds; `slow` says that the whole connection is to be slowed."""

    error: VendorError
    again: bool
    wish: float | None = None
    slow: bool = False


def of_loss(asked: Asked, error: httpx.TransportError) -> Verdict:
    """No answer came. What was never sent can be sent again, whatever it is."""
    unsent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
    certificate = _certificate_fault(error)
    if certificate:
        detail = f"The system's certificate is not valid: {certificate}."
        return Verdict(VendorUnavailable(detail), again=False)
    why = (
        "did not answer in time"
        if isinstance(error, httpx.TimeoutException)
        else "could not be reached"
        if unsent
        else "closed the connection without an answer"
    )
    detail = f"{asked.shown}: the system {why}."
    if asked.safe or unsent:
        return Verdict(VendorUnavailable(detail), again=True)
    return Verdict(InDoubt(detail), again=False)


def of_cut(asked: Asked, error: Exception) -> Verdict:
    """The answer began and did not come to its end."""
    detail = error.detail if isinstance(error, PlatformError) else "The answer broke off."
    if asked.safe:
        return Verdict(PartialAnswer(f"{asked.shown}: {detail}"), again=True)
    return Verdict(InDoubt(f"{asked.shown}: {detail}"), again=False)


def of_status(
    asked: Asked, status: int, headers: Mapping[str, str], body: bytes, manners: Manners
) -> Verdict:
    """A status that is no success (redirects and the first 401 are the caller's)."""
    wish = retry_after(headers.get("retry-after"))
    said = f"{asked.shown}: the system answered {status}"
    if status == 401:
        detail = (
            f"{said}. Check the user, the password or token, and whether the account is locked or"
            " may use the API."
        )
        return Verdict(Unauthorized(detail), again=False)
    if status == 429 or (status == 403 and manners.quota_refusal(headers, body)):
        # Refused before anything happened, so that any request may be sent again.
        spent = QuotaSpent(f"{said}: its limit of requests is reached.", retry_after=wish)
        return Verdict(spent, again=True, wish=wish, slow=True)
    if status in _AGAIN or status in manners.again:
        if not asked.safe:
            return Verdict(InDoubt(f"{said}.", retry_after=wish), again=False)
        failed = VendorUnavailable(f"{said}.", retry_after=wish)
        return Verdict(failed, again=True, wish=wish, slow=bool(wish))
    return Verdict(VendorRefused(f"{said}.", answered=status, body=body), again=False)


def _certificate_fault(error: BaseException) -> str | None:
    """OpenSSL's words when a certificate was not accepted."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return seen.verify_message
        seen = seen.__cause__ or seen.__context__
    return None

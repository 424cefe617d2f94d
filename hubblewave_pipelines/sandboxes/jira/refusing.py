"""How Jira says no: error collections, and 429 with its three reasons."""

from datetime import datetime, timedelta
from email.utils import format_datetime

from starlette.requests import Request
from starlette.responses import JSONResponse, Response


class Refused(Exception):
    """Becomes Jira's error collection."""

    def __init__(self, status: int, *messages: str, **errors: str) -> None:
        super().__init__(*messages)
        self.status = status
        self.messages = messages
        self.errors = errors


async def refused(_: Request, error: Refused) -> Response:
    body = {"errorMessages": list(error.messages), "errors": error.errors}
    return JSONResponse(body, error.status)


def throttled(now: datetime, seconds: float, reason: str, *, dated: bool = False) -> Response:
    """`reason`: jira-burst-based, jira-per-issue-on-write or jira-quota-tenant-based."""
    reset = now + timedelta(seconds=seconds)
    return JSONResponse(
        {"errorMessages": ["Rate limit exceeded."], "errors": {}},
        429,
        {
            "Retry-After": format_datetime(reset, usegmt=True)
            if dated
            else str(max(1, round(seconds))),
            "X-RateLimit-Limit": "100",
            "X-RateLimit-Remaining": "0",
            "X-RateLimit-Reset": reset.strftime("%Y-%m-%dT%H:%MZ"),
            "RateLimit-Reason": reason,
        },
    )

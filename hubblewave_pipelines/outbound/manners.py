"""How one vendor says what all of them say differently: quota, redirected links, where tokens come from."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hubblewave_pipelines.core.bucket import Quota

Headers = Mapping[str, str]  # names in lower case

_RATIO = re.compile(r"api-usage=(\d+)/(\d+)")


def usual_quota(headers: Headers) -> Quota | None:
    """Salesforce's Sforce-Limit-Info, else X-RateLimit-Limit and -Remaining."""
    if found := _RATIO.search(headers.get("sforce-limit-info", "")):
        used, limit = int(found[1]), int(found[2])
        return Quota(limit - used, limit)
    limit_text = headers.get("x-ratelimit-limit", "")
    remaining = headers.get("x-ratelimit-remaining", "")
    if limit_text.isdigit() and remaining.isdigit():
        return Quota(int(remaining), int(limit_text))
    return None


def usual_quota_refusal(headers: Headers, body: bytes) -> bool:
    """Whether a 403 means that a quota is spent rather than a permission missing."""
    return (
        "retry-after" in headers
        or headers.get("x-ratelimit-remaining") == "0"
        or b"REQUEST_LIMIT_EXCEEDED" in body
    )


@dataclass(frozen=True, slots=True)
class Manners:
    """What a vendor's package may tell the session, as its `MANNERS`.

    `token_path`: where tokens are asked for unless the credentials name a `tokenUrl`; relative to the
    base URL, or absolute. `rebase_links`: absolute links are taken as paths of the base URL's origin
    whatever host they name (systems behind proxies); otherwise another origin is refused. `again` are
    further statuses after which a safe request is sent again. `quota_reserved` says whether a quota
    is one to keep a reserve of (a daily one), not a mere burst limit.
    """

    token_path: str | None = None
    rebase_links: bool = False
    again: frozenset[int] = frozenset()
    quota: Callable[[Headers], Quota | None] = usual_quota
    quota_refusal: Callable[[Headers, bytes], bool] = usual_quota_refusal
    quota_reserved: bool = False

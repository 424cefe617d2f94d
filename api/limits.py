"""What a request costs its caller: one of the plan's requests, counted once and before the work."""

import ipaddress
import math
import time
from datetime import UTC, datetime

from prometheus_client import Counter
from starlette.requests import Request

from api.rate_stores import LocalStore, RedisStore, Store
from hubblewave_pipelines.core.errors import RateLimited
from hubblewave_pipelines.core.limits import STRANGERS, Allowance, plan_limits
from hubblewave_pipelines.settings import Settings
from hubblewave_pipelines.storage.tenants import Principal

_refused = Counter("hubblewave_rate_limited", "Requests refused by their rate.", ["limit"])


class Limits:
    """Counts requests by tenant and plan, and those of unknown callers by their address."""

    def __init__(self, settings: Settings) -> None:
        url = settings.redis_url
        self._store: Store = LocalStore() if url is None else RedisStore(url.get_secret_value())
        self._plans = plan_limits(settings.rate_limits)

    async def close(self) -> None:
        await self._store.close()

    async def charge(self, request: Request, principal: Principal) -> None:
        """Count the request for the principal's tenant and plan; a second call costs nothing.

        Raises RateLimited when the plan is used up. A request may be charged for whom its key
        belonged to last time; when that turns out to be another plan, it is charged there too.
        """
        bucket = f"{principal.plan}:{principal.tenant_id}"
        if getattr(request.state, "charged", None) == bucket:
            return
        request.state.charged = bucket
        allowance = await self._store.take(bucket, self._plans[principal.plan])
        request.state.allowance = allowance
        if not allowance.admitted:
            raise _refusal(
                allowance,
                f"The {principal.plan} plan allows {allowance.limit.requests} requests a minute.",
            )

    async def charge_stranger(self, request: Request) -> None:
        """Count a request whose credential nobody vouches for yet, once. Raises RateLimited."""
        if getattr(request.state, "charged", None) is not None:
            return
        request.state.charged = "address"
        allowance = await self._store.take(f"address:{_address(request)}", STRANGERS)
        if not allowance.admitted:
            raise _refusal(
                allowance, "Too many requests without a known credential came from here."
            )


def _address(request: Request) -> str:
    """Where a request comes from; for IPv6 the network, since a host has a whole one to itself."""
    host = request.client.host if request.client is not None else "unknown"
    if ":" not in host:
        return host
    return str(ipaddress.ip_network(f"{host.partition('%')[0]}/64", strict=False))


def _refusal(allowance: Allowance, detail: str) -> RateLimited:
    _refused.labels(allowance.limit.name).inc()
    seconds = allowance.retry_ms / 1000
    return RateLimited(f"{detail} Try again in {math.ceil(seconds)} s.", retry_after=seconds)


def headers(allowance: Allowance) -> list[tuple[bytes, bytes]]:
    """What a response says of its caller's allowance, in the X- form of old and in that of the IETF
    draft (draft-ietf-httpapi-ratelimit-headers)."""
    limit = allowance.limit
    reset = datetime.fromtimestamp(time.time() + allowance.reset_ms / 1000, UTC)
    left = f'"{limit.name}";r={allowance.remaining};t={-(-allowance.reset_ms // 1000)}'
    return [
        (b"x-ratelimit-limit", b"%d" % limit.requests),
        (b"x-ratelimit-remaining", b"%d" % allowance.remaining),
        (b"x-ratelimit-reset", reset.isoformat(timespec="milliseconds")[:-6].encode() + b"Z"),
        (b"ratelimit", left.encode()),
        (
            b"ratelimit-policy",
            b'"%b";q=%d;w=%d' % (limit.name.encode(), limit.requests, limit.window_ms // 1000),
        ),
    ]

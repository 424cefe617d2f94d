"""Where rate limits are counted: in this process, or in Redis for all processes together."""

import time
from collections import OrderedDict
from typing import Protocol

import structlog
from prometheus_client import Gauge
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import RedisError

from hubblewave_pipelines.core.limits import Allowance, Bucket, Limit

_PATIENCE = 0.5  # seconds that a request waits for Redis before it is counted here
_PAUSE = 1.0  # seconds between attempts to reach a Redis that is down
_CONNECTIONS = 32

_degraded = Gauge(
    "hubblewave_rate_limit_degraded",
    "1 while Redis is configured and out of reach, so that each process counts for itself.",
)
_log = structlog.get_logger("api")

# The law of core.limits.Bucket in one round trip. The list is: requests counted before the window,
# then for each slot its number and the requests counted up to its end; so both ends suffice.
SCRIPT = """
local requests, window, block, slot_ms = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local now = tonumber(ARGV[5])
if not now then
  local clock = redis.call('TIME')
  now = clock[1] * 1000 + math.floor(clock[2] / 1000)
end
local until_ms = tonumber(redis.call('GET', KEYS[2]) or 0)
if now < until_ms then return {0, until_ms - now, until_ms - now} end
local first = tonumber(redis.call('LINDEX', KEYS[1], 1))
while first and (first + 1) * slot_ms + window <= now do
  redis.call('LPOP', KEYS[1], 2)
  first = tonumber(redis.call('LINDEX', KEYS[1], 1))
end
local before, upto = 0, 0
if first then
  before, upto = tonumber(redis.call('LINDEX', KEYS[1], 0)), tonumber(redis.call('LINDEX', KEYS[1], -1))
end
if upto - before >= requests then
  redis.call('DEL', KEYS[1])
  redis.call('SET', KEYS[2], string.format('%.0f', now + block), 'PX', block)
  return {0, block, block}
end
local slot = math.floor(now / slot_ms)
if not first then
  redis.call('DEL', KEYS[1])
  redis.call('RPUSH', KEYS[1], 0, slot, 1)
  first = slot
elseif tonumber(redis.call('LINDEX', KEYS[1], -2)) >= slot then
  redis.call('LSET', KEYS[1], -1, upto + 1)
else
  redis.call('RPUSH', KEYS[1], slot, upto + 1)
end
redis.call('PEXPIRE', KEYS[1], window + slot_ms)
return {requests - (upto - before) - 1, (first + 1) * slot_ms + window - now, 0}
"""


class Store(Protocol):
    """Counts requests by bucket."""

    async def take(self, bucket: str, limit: Limit) -> Allowance:
        """Count one request of the bucket, or say how long to wait. Never fails."""

    async def close(self) -> None:
        """Let go of connections."""


class LocalStore:
    """Counts in this process: with N processes a tenant is let through up to N times its limit."""

    def __init__(self, size: int = 20_000) -> None:
        self._size = size
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    async def take(self, bucket: str, limit: Limit) -> Allowance:
        found = self._buckets.get(bucket)
        if found is None:
            found = self._buckets[bucket] = Bucket()
            if len(self._buckets) > self._size:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(bucket)
        return found.take(limit, time.monotonic_ns() // 1_000_000)

    async def close(self) -> None:
        self._buckets.clear()


class RedisStore:
    """Counts in Redis, by its clock; in this process while Redis cannot be reached.

    Going over to local counting and coming back are each one line in the log. While Redis is away
    one request per second asks for it, so an outage costs nobody else its patience.
    """

    def __init__(self, url: str) -> None:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=_CONNECTIONS,
            timeout=_PATIENCE,
            socket_timeout=_PATIENCE,
            socket_connect_timeout=_PATIENCE,
            # A connection that an idle time-out closed deserves one fresh one; a slow Redis does not.
            retry=Retry(NoBackoff(), 1, supported_errors=(Disconnected,)),
        )
        self._redis = Redis.from_pool(pool)
        self._script = self._redis.register_script(SCRIPT)
        self._local = LocalStore()
        self._away = False
        self._ask_again = 0.0
        _degraded.set(0)

    async def take(self, bucket: str, limit: Limit) -> Allowance:
        if self._away:
            if time.monotonic() < self._ask_again:
                return await self._local.take(bucket, limit)
            self._ask_again = time.monotonic() + _PAUSE + _PATIENCE
        try:
            found = await self.asked(bucket, limit)
        except (RedisError, OSError, TimeoutError) as error:
            self._lost(error)
            return await self._local.take(bucket, limit)
        if self._away:
            self._away = False
            _degraded.set(0)
            _log.warning("rate limits are counted in Redis again")
        return found

    async def asked(self, bucket: str, limit: Limit, now: int | None = None) -> Allowance:
        """What Redis answers, at the time given or by its own clock. Raises RedisError, OSError."""
        remaining, reset, retry = await self._script(
            # The braces keep both keys on one node of a cluster.
            keys=[f"hubblewave:rate:{{{bucket}}}", f"hubblewave:block:{{{bucket}}}"],
            args=[
                limit.requests,
                limit.window_ms,
                limit.block_ms,
                limit.slot_ms,
                "" if now is None else now,
            ],
        )
        return Allowance(limit, int(remaining), int(reset), int(retry))

    def _lost(self, error: Exception) -> None:
        self._ask_again = time.monotonic() + _PAUSE
        if not self._away:
            self._away = True
            _degraded.set(1)
            _log.warning(
                "Redis is out of reach: each process counts rate limits for itself",
                error=type(error).__name__,
            )

    async def close(self) -> None:
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()

"""When a delivery that failed is tried again: schedules, jitter, and what the receiver asks for."""

from collections.abc import Mapping
from dataclasses import dataclass

LONGEST = 24 * 3600.0  # seconds
LONGEST_WISH = 6 * 3600.0  # seconds of a Retry-After that are heeded
JITTER = 0.2
# The schedule of Standard Webhooks: ten attempts over 75 hours.
_STANDARD = (5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0, 86400.0)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`max_attempts` in all; seconds between them grow from 1 by `multiplier`, or as `waits` says."""

    max_attempts: int = 10
    multiplier: float = 2.0
    waits: tuple[float, ...] = ()

    def wait(self, attempt: int, chance: float, wish: float | None = None) -> float:
        """Seconds until the next attempt, after `attempt` (from 1) failed.

        `chance` in [0, 1) spreads them by 20 % either way; `wish` is the receiver's Retry-After,
        heeded between what the schedule says and six hours.
        """
        if self.waits:
            base = self.waits[min(attempt, len(self.waits)) - 1]
        else:
            base = min(LONGEST, self.multiplier ** min(attempt - 1, 64))
        spread = base * (1 - JITTER + 2 * JITTER * chance)
        return spread if wish is None else max(spread, min(wish, LONGEST_WISH))


PRESETS: Mapping[str, RetryPolicy] = {
    "default": RetryPolicy(),  # about 8.5 minutes
    "standard": RetryPolicy(max_attempts=10, waits=_STANDARD),  # 75 hours
    "day": RetryPolicy(max_attempts=10, multiplier=4.0),  # 24 hours
    "week": RetryPolicy(max_attempts=14, multiplier=5.0),  # 6 days, each wait at most one
}


def policy_of(config: Mapping[str, object]) -> RetryPolicy:
    """The policy of a stored `retryConfig`."""
    preset = config.get("preset")
    if isinstance(preset, str):
        return PRESETS[preset]
    default = RetryPolicy()
    attempts, multiplier = config.get("maxAttempts"), config.get("backoffMultiplier")
    return RetryPolicy(
        attempts if isinstance(attempts, int) else default.max_attempts,
        float(multiplier) if isinstance(multiplier, int | float) else default.multiplier,
    )

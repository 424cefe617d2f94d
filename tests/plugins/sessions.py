"""Sessions of tests: everything real but the database behind them, and loopback is allowed."""

from typing import Any

from hubblewave_pipelines.core.credentials import Credentials
from hubblewave_pipelines.core.egress import Allow, parse_allow
from hubblewave_pipelines.outbound.budget import MemoryBudget
from hubblewave_pipelines.outbound.client import HttpSession
from hubblewave_pipelines.outbound.vault import MemoryVault

LOOPBACK: Allow = parse_allow("127.0.0.1/32:*")


def plain_session(
    base_url: str, given: dict[str, str] | None = None, **options: Any
) -> HttpSession:
    """`given` are credentials as an admin gives them, for example {"kind": "basic", "username": ..}.

    `options` are those of HttpSession; `sleep=lambda _: None` for tests that make a system complain.
    """
    options.setdefault("vault", MemoryVault(Credentials(given or {"kind": "none"})))
    options.setdefault("budget", MemoryBudget())
    options.setdefault("allow", LOOPBACK)
    return HttpSession(base_url, **options)

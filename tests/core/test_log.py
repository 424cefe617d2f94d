"""The log of a process: one JSON object per line, and nothing of what a failing function held."""

import json

import pytest
import structlog

from hubblewave_pipelines.core.errors import Misconfigured
from hubblewave_pipelines.core.log import configure_log


def test_an_unexpected_error_is_logged_with_its_places_and_without_values(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    before = structlog.get_config()

    def fail(secret: str) -> None:
        raise RuntimeError(f"{len(secret)} characters")

    try:
        configure_log("INFO")
        log = structlog.get_logger("test")
        try:
            fail("canary-5e1d")
        except RuntimeError:
            log.exception("unexpected")
    finally:
        structlog.configure(**before)
    (line,) = capfdbinary.readouterr().out.splitlines()
    said = json.loads(line)
    assert said["exception"][0]["exc_type"] == "RuntimeError"
    assert said["exception"][0]["frames"][-1]["name"] == "fail"
    assert b"canary" not in line


def test_a_level_that_is_none_is_refused() -> None:
    with pytest.raises(Misconfigured, match="HUBBLEWAVE_LOG_LEVEL"):
        configure_log("LOUD")

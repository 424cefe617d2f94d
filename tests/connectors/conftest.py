"""Connectors opened on running sandboxes, with sessions that end with the test and wait for nothing."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from hubblewave_pipelines.connectors.registry import manners, module
from hubblewave_pipelines.sandboxes.serving import Running
from tests.plugins.sessions import plain_session


@pytest.fixture
def opened() -> Iterator[Callable[..., tuple[Any, Any]]]:
    """`opened(running, password=None, **config)` -> the vendor's connector, and its session."""
    with ExitStack() as sessions:

        def one(running: Running, password: str | None = None, **config: Any) -> tuple[Any, Any]:
            given = running.sandbox.vendor.connector(running.url)
            credentials = given["credentials"] | ({"password": password} if password else {})
            session = plain_session(
                running.url, credentials, manners=manners(given["type"]), sleep=lambda _: None
            )
            sessions.enter_context(session)
            connect = module(given["type"]).connect
            return connect({**given["config"], **config}, session), session

        yield one

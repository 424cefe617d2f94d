"""Vendor sandboxes for tests: any of them on a thread, on a socket of its own."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import pytest

from hubblewave_pipelines.sandboxes.app import Sandbox
from hubblewave_pipelines.sandboxes.registry import build
from hubblewave_pipelines.sandboxes.serving import Running, on_thread
from hubblewave_pipelines.sandboxes.vendor import Options, Vendor

START = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)


@pytest.fixture
def serve() -> Iterator[Callable[..., Running]]:
    """`serve("jira", records=100)` or `serve(vendor_object)` -> Running, stopped after the test.

    The clock starts at START unless `start` is given (None: real time), so that two runs of a
    test see the same data.
    """
    with ExitStack() as running:

        def started(vendor: str | Vendor, **options: Any) -> Running:
            if isinstance(vendor, Vendor):
                made = Sandbox(vendor)
            else:
                made = build(vendor, Options(**{"start": START, **options}))
            return running.enter_context(on_thread(made))

        yield started

"""Connectors: credentials with generations, the shared pace of requests, checks and discoveries, types."""

from hubblewave_pipelines.storage.migrations import run_beside

revision = "0019"
down_revision = "0020"


def upgrade() -> None:
    run_beside(__file__)

"""Idempotency keys: what a request that carried one was answered, kept for a day."""

from hubblewave_pipelines.storage.migrations import run_beside

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    run_beside(__file__)

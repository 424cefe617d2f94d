"""Webhooks of external systems: stored before they are answered, worked off by syncs."""

from hubblewave_pipelines.storage.migrations import run_beside

revision = "0021"
down_revision = "0016"


def upgrade() -> None:
    run_beside(__file__)

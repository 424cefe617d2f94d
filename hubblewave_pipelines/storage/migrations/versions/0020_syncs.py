"""Syncs: jobs, runs, windows, progress, what is known of the other system, dead letters, drifts."""

from hubblewave_pipelines.storage.migrations import run_beside

revision = "0020"
down_revision = "0015"


def upgrade() -> None:
    run_beside(__file__)

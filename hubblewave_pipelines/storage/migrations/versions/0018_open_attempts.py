"""Webhooks: an attempt that is under way is told by its delivery; one index less to keep up."""

from hubblewave_pipelines.storage.migrations import run_beside

revision = "0018"
down_revision = "0019"


def upgrade() -> None:
    run_beside(__file__)

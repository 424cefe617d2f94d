"""Reverts of imports: what was asked, how it ended, and which records were left as they are."""

from hubblewave_pipelines.storage.migrations import run_beside

revision = "0010"
down_revision = "0008"


def upgrade() -> None:
    run_beside(__file__)

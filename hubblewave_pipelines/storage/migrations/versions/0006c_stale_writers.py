"""Stale writers: a transaction says which definitions it knows, and a table may refuse older ones."""

from hubblewave_pipelines.storage.migrations import run_beside

revision = "0006c"
down_revision = "0007"


def upgrade() -> None:
    run_beside(__file__)

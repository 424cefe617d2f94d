"""Imports of every format: what was found out about a file is kept, so that it is read alike again."""

from hubblewave_pipelines.storage.migrations import run_beside

revision = "0007"
down_revision = "0014"


def upgrade() -> None:
    run_beside(__file__)

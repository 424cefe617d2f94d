"""Every version in the order of commits: an index by who wrote it, and writers never go back."""

from hubblewave_pipelines.storage.migrations import run_beside

revision = "0014"
down_revision = "0006b"


def upgrade() -> None:
    run_beside(__file__)

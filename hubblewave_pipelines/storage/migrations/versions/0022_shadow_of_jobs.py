"""What syncs know goes with its job by a trigger, not by a key that is looked up for every row."""

from hubblewave_pipelines.storage.migrations import run_beside

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    run_beside(__file__)

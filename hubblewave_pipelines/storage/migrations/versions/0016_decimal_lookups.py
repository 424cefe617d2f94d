"""Look-ups by a unique decimal use its index, which row security keeps from them."""

from hubblewave_pipelines.storage.migrations import run_beside

revision = "0016"
down_revision = "0018"


def upgrade() -> None:
    run_beside(__file__)

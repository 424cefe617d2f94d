"""Persisted documents: GraphQL documents that clients name by their digest instead of sending them."""

from hubblewave_pipelines.storage.migrations import run_beside

revision = "0005"
down_revision = "0006"


def upgrade() -> None:
    run_beside(__file__)

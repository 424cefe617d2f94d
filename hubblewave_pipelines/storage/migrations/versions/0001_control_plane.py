"""Control plane: tenants, credentials, definitions, work, imports and what later surfaces need."""

from hubblewave_pipelines.storage.migrations import run_beside

revision = "0001"
down_revision = None


def upgrade() -> None:
    run_beside(__file__)

"""Key use and retention: when keys were last used, and from when on history is kept."""

from hubblewave_pipelines.storage.migrations import run_beside

revision = "0006"
down_revision = "0010"


def upgrade() -> None:
    run_beside(__file__)

"""History retention: versions that ended long ago are removed, and what is gone is known."""

from hubblewave_pipelines.storage.migrations import run_beside

revision = "0006d"
down_revision = "0006c"


def upgrade() -> None:
    run_beside(__file__)

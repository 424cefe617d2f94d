"""History of records: what an update or a delete replaces is kept, and who did it is known."""

from hubblewave_pipelines.storage.migrations import run_beside

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    run_beside(__file__)

"""Dead letters: when a tenant was told last that a webhook has some."""

from hubblewave_pipelines.storage.migrations import run_beside

revision = "0015"
down_revision = "0006d"


def upgrade() -> None:
    run_beside(__file__)

"""Type changes: what tells whether a text is a value of a type, and updates that change no value."""

from hubblewave_pipelines.storage.migrations import run_beside

revision = "0006b"
down_revision = "0004"


def upgrade() -> None:
    run_beside(__file__)

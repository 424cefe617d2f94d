"""Webhooks: events written by the data's own transaction, deliveries, attempts and dead letters."""

from hubblewave_pipelines.storage.migrations import run_beside

revision = "0008"
down_revision = "0003"


def upgrade() -> None:
    run_beside(__file__)

"""Exports: what a run writes of them, schedules, and the watches that import what arrives."""

from hubblewave_pipelines.storage.migrations import run_beside

revision = "0004"
down_revision = "0005"


def upgrade() -> None:
    run_beside(__file__)

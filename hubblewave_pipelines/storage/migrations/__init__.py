"""Alembic revisions of the control plane; one SQL file per revision."""

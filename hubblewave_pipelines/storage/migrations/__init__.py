"""Alembic revisions of the control plane; one SQL file per revision."""

from pathlib import Path

from alembic import op


def run_beside(revision: str) -> None:
    """Run the SQL file that lies beside the revision's own file (its `__file__`)."""
    driver = op.get_bind().connection.driver_connection
    if driver is None:
        raise RuntimeError("Alembic handed over a closed connection.")
    driver.execute(Path(revision).with_suffix(".sql").read_text())

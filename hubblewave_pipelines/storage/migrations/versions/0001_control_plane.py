"""Control plane: tenants, credentials, definitions, work, imports and what later surfaces need."""

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    sql = Path(__file__).with_suffix(".sql").read_text()
    driver = op.get_bind().connection.driver_connection
    if driver is None:
        raise RuntimeError("Alembic handed over a closed connection.")
    driver.execute(sql)

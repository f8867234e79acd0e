"""Requests that got no answer, so that what a roll-back dropped can be read."""

import sqlalchemy as sa
from alembic import op

revision = "6"
down_revision = "5"


def upgrade() -> None:
    """Add the table `failures`."""
    op.create_table(
        "failures",
        sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("table_name", sa.String(64), nullable=False),
        sa.Column("error", sa.String(64), nullable=False),
        sa.Column("num_requests", sa.Integer, nullable=False),
    )
    op.create_index("failures_by_table", "failures", ["table_name", "at"])
    op.execute("UPDATE counters SET value = 6 WHERE name = 'schema'")

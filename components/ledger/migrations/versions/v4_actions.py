"""What operators did through the dashboard, and what trainings drew."""

import sqlalchemy as sa
from alembic import op

revision = "4"
down_revision = "3"


def upgrade() -> None:
    """Add the table `actions`, the energy's columns of `costs`, and an index that counts answers by version."""
    op.add_column("costs", sa.Column("energy_joules", sa.Double))
    op.add_column("costs", sa.Column("energy_source", sa.Text))
    op.create_index("answers_by_version", "answers", ["table_name", "model_name", "model_version"])
    op.create_table(
        "actions",
        sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("actor", sa.String(128), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("action", sa.String(32), nullable=False),
        sa.Column("subject", sa.String(128), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
    )
    op.execute("UPDATE counters SET value = 4 WHERE name = 'schema'")

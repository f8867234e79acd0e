"""Retrainings that began, also those that failed, so that a trigger can count them."""

import sqlalchemy as sa
from alembic import op

revision = "7"
down_revision = "6"


def upgrade() -> None:
    """Add the table `attempts`, with what is known of those before: their cuts."""
    op.create_table(
        "attempts",
        sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("table_name", sa.String(64), nullable=False),
        sa.Column("run_id", sa.String(128), nullable=False),
        sa.Column("cause", sa.String(16), nullable=False),
        sa.Column("started_at", sa.Double, nullable=False),
        sa.Column("ended_at", sa.Double),
        sa.Column("outcome", sa.String(32), nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("model_name", sa.String(128), nullable=False),
        sa.Column("model_version", sa.Integer, nullable=False),
    )
    op.create_index("ix_attempts_run_id", "attempts", ["run_id"])
    op.create_index("attempts_by_table", "attempts", ["table_name", "ended_at"])
    op.execute(
        "INSERT INTO attempts "
        "(table_name, run_id, cause, started_at, ended_at, outcome, error, model_name, model_version) "
        "SELECT table_name, '', 'feedback', at, at, outcome, '', model_name, model_version FROM cuts ORDER BY sequence"
    )
    op.execute("UPDATE counters SET value = 7 WHERE name = 'schema'")

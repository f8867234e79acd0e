"""What each test set has decided, and refusals that an operator overruled."""

import sqlalchemy as sa
from alembic import op

revision = "3"
down_revision = "2"


def upgrade() -> None:
    """Add the tables `looks` and `appeals`."""
    op.create_table(
        "looks",
        sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("test_set", sa.String(64), nullable=False),
        sa.Column("model_name", sa.String(128), nullable=False),
        sa.Column("model_version", sa.Integer, nullable=False),
        sa.Column("against", sa.String(16), nullable=False),
        sa.Column("against_version", sa.Integer, nullable=False),
        sa.Column("verdict", sa.String(16), nullable=False),
        sa.Column("evidence", sa.JSON, nullable=False),
        sa.UniqueConstraint("test_set", "model_name", "model_version", "against", "against_version"),
    )
    op.create_table(
        "appeals",
        sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("feedback_id", sa.String(64), sa.ForeignKey("feedback.feedback_id"), nullable=False, unique=True),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("actor", sa.String(128), nullable=False),
        sa.Column("why", sa.Text, nullable=False),
    )
    op.execute("UPDATE counters SET value = 3 WHERE name = 'schema'")

"""Who answers beside the champion, what a watch counts, more kinds of feedback, and MLflow's lane in the outbox."""

import sqlalchemy as sa
from alembic import op

revision = "5"
down_revision = "4"

_Serial = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Add the tables `splits`, `shadows`, `watched`, two columns of `feedback` and one of `outbox`."""
    op.create_table(
        "splits",
        sa.Column("table_name", sa.String(64), primary_key=True),
        sa.Column("kind", sa.String(16), primary_key=True),
        sa.Column("model_name", sa.String(128), nullable=False),
        sa.Column("model_version", sa.Integer, nullable=False),
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("weights_sha256", sa.String(64), nullable=False),
        sa.Column("percent", sa.Double, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("until", sa.Double),
        sa.Column("actor", sa.String(128), nullable=False),
    )
    op.create_table(
        "shadows",
        sa.Column("sequence", _Serial, primary_key=True, autoincrement=True),
        sa.Column("request_id", sa.String(64), sa.ForeignKey("answers.request_id", ondelete="CASCADE"), nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("table_name", sa.String(64), nullable=False),
        sa.Column("model_name", sa.String(128), nullable=False),
        sa.Column("model_version", sa.Integer, nullable=False),
        sa.Column("weights_sha256", sa.String(64), nullable=False),
        sa.Column("output", sa.Text, nullable=False),
        sa.Column("confidence", sa.Double),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.UniqueConstraint("request_id", "model_name", "model_version"),
    )
    op.create_index("shadows_by_table", "shadows", ["table_name", "sequence"])
    op.create_table(
        "watched",
        sa.Column("sequence", _Serial, primary_key=True, autoincrement=True),
        sa.Column("move_id", sa.String(64), nullable=False),
        sa.Column("feedback_id", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(64), nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("is_control", sa.Integer, nullable=False),
        sa.Column("score", sa.Double, nullable=False),
        sa.UniqueConstraint("move_id", "subject"),
    )
    # SQLite adds a column with a reference only in its own words: Alembic leaves the reference out there.
    if op.get_bind().dialect.name == "sqlite":
        op.execute("ALTER TABLE feedback ADD COLUMN other_request_id VARCHAR(64) REFERENCES answers (request_id)")
    else:
        other = sa.Column("other_request_id", sa.String(64), sa.ForeignKey("answers.request_id"))
        op.add_column("feedback", other)
    op.add_column("feedback", sa.Column("rating", sa.Integer))
    op.add_column("outbox", sa.Column("destination", sa.String(16), nullable=False, server_default="prefect"))
    op.execute("UPDATE counters SET value = 5 WHERE name = 'schema'")

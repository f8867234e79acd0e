"""Keys with roles, and how an answer ended."""

import sqlalchemy as sa
from alembic import op

revision = "2"
down_revision = "1"


def upgrade() -> None:
    """Add the table `keys` and the column `answers.finish_reason`."""
    op.add_column("answers", sa.Column("finish_reason", sa.String(16)))
    op.create_table(
        "keys",
        sa.Column("key_id", sa.String(16), primary_key=True),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("secret_sha256", sa.String(64), nullable=False, unique=True),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("requests_per_minute", sa.Integer, nullable=False),
        sa.Column("revoked_at", sa.Double),
    )
    op.execute("UPDATE counters SET value = 2 WHERE name = 'schema'")

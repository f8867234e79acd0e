"""The ledger's tables about who answers beside the champion, and what came of it."""

from sqlalchemy import Column, Double, ForeignKey, Index, Integer, String, Table, Text, UniqueConstraint

from components.ledger.schema import metadata, serial

splits = Table(
    "splits",
    metadata,
    Column("table_name", String(64), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("model_name", String(128), nullable=False),
    Column("model_version", Integer, nullable=False),
    Column("run_id", String(64), nullable=False),
    Column("weights_sha256", String(64), nullable=False),
    Column("percent", Double, nullable=False),
    Column("at", Double, nullable=False),
    Column("until", Double),
    Column("actor", String(128), nullable=False),
)
"""Who answers beside the champion now; how it came to be is in the journal."""

shadows = Table(
    "shadows",
    metadata,
    Column("sequence", serial, primary_key=True, autoincrement=True),
    Column("request_id", String(64), ForeignKey("answers.request_id", ondelete="CASCADE"), nullable=False),
    Column("at", Double, nullable=False),
    Column("table_name", String(64), nullable=False),
    Column("model_name", String(128), nullable=False),
    Column("model_version", Integer, nullable=False),
    Column("weights_sha256", String(64), nullable=False),
    Column("output", Text, nullable=False),  # masked
    Column("confidence", Double),
    Column("seconds", Double, nullable=False),
    UniqueConstraint("request_id", "model_name", "model_version"),
    Index("shadows_by_table", "table_name", "sequence"),
)
"""What a challenger would have said to a request that another version answered. Nobody was shown it."""

watched = Table(
    "watched",
    metadata,
    Column("sequence", serial, primary_key=True, autoincrement=True),
    Column("move_id", String(64), nullable=False),
    Column("feedback_id", String(64), nullable=False),
    Column("subject", String(64), nullable=False),
    Column("at", Double, nullable=False),
    Column("is_control", Integer, nullable=False),
    Column("score", Double, nullable=False),
    UniqueConstraint("move_id", "subject"),
)
"""What the watch over a promotion has counted, in its order: once for each subject, and never changed."""

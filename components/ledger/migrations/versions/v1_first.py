"""The first schema: answers, feedback, fates, cuts, journal, verdicts, costs and the outbox.

Ledgers of it were made whole by its own code, before there were migrations; there is nothing to run.
"""

revision = "1"
down_revision = None


def upgrade() -> None:
    """Nothing: every ledger has this much."""

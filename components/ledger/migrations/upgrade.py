"""Brings a ledger of an earlier schema to today's, by Alembic, inside the caller's transaction."""

from pathlib import Path

from sqlalchemy import Connection


def upgrade(connection: Connection, *, to: str = "head") -> None:
    """Run the revisions between the ledger's own and `to`. All of them or none: the caller commits."""
    # 0.2 s, and only ever needed once a ledger: a new one is made whole, and a current one is left alone.
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    script = ScriptDirectory.from_config(config)
    with EnvironmentContext(config, script, fn=lambda revision, _: script._upgrade_revs(to, revision)) as environment:
        environment.configure(connection=connection)
        environment.run_migrations()

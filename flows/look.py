"""Every table, in case a bell was lost."""

from prefect import flow

from components.recipes import TriggerPolicy
from flows import policies, run_names, steps


@flow(flow_run_name=run_names.named("look at every table"), **policies.KEPT)
def look(trigger: TriggerPolicy | None = None) -> list[str]:
    """Asks for a retraining of each table that has a champion; each counts for itself, and says why or why not."""
    tables = steps.tables_with_champion()
    for table in tables:
        steps.ask(table, trigger or policies.trigger())
    return tables

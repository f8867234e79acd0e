"""Sources → a data version."""

from prefect import flow

from components.recipes import Ingest
from components.refs import DataRef
from flows import policies, run_names, steps


@flow(flow_run_name=run_names.named("ingest {recipe.name}"), **policies.KEPT)
def ingest(recipe: Ingest, force: bool = False) -> DataRef:
    """Builds the recipe's tables in staging, validates them, and makes a version of them; else the last one stands."""
    with policies.fresh(force):
        return steps.ingest(recipe)

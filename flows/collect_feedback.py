"""Feedback → a data version, without a training."""

from prefect import flow

from components.feedback.retraining import Collected
from components.recipes import Finetune
from flows import policies, steps


@flow(flow_run_name="collect feedback on {table}", **policies.KEPT)
def collect_feedback(table: str, cut: int, recipe: Finetune | None = None) -> Collected:
    """Screens the feedback up to a cut and commits what is admitted; whoever trains next trains on it."""
    recipe = steps.recipe_of(table, recipe)
    return steps.collect(table, cut, recipe)

"""Feedback → a data version, without a training."""

from prefect import flow

from components.feedback.retraining import Collected
from components.recipes import Finetune
from flows import policies, run_names, steps


@flow(flow_run_name=run_names.named("collect feedback on {table}"), **policies.KEPT)
def collect_feedback(table: str, cut: int | None = None, recipe: Finetune | None = None) -> Collected:
    """Screens the feedback up to a cut (default: all of now) and commits what is admitted, for whoever trains next."""
    recipe = steps.recipe_of(table, recipe)
    return steps.collect(table, cut, recipe)

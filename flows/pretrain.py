"""A corpus → a tokenizer and a language model from nothing."""

from prefect import flow

from components.recipes import Pretrain
from components.refs import DataRef, ModelRef
from flows import policies, run_names, steps


@flow(flow_run_name=run_names.named("pretrain {recipe.name}"), **policies.KEPT)
def pretrain(recipe: Pretrain, data: DataRef | None = None, force: bool = False) -> ModelRef:
    """Trains by the recipe on the data (default: the newest version, or what it names) and registers the model."""
    with policies.fresh(force):
        data = steps.packed_data(recipe) if recipe.packed else steps.current_data(data)
        run = steps.train(recipe, data, force)
        return steps.register(recipe, data, run)

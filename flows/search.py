"""A search over hyper-parameters, and the training of what it found: a candidate like any other."""

from prefect import flow

from components.recipes import Finetune, GatePolicy, Search
from components.refs import DataRef, ModelRef
from flows import policies, run_names, steps
from flows.finetune import to_candidate


@flow(flow_run_name=run_names.named("search {search.name}"), **policies.KEPT)
def search(
    search: Search,
    recipe: Finetune,
    data: DataRef | None = None,
    policy: GatePolicy | None = None,
    force: bool = False,
) -> ModelRef:
    """Trials on held-out training rows; then what was found is trained on all rows, measured, registered, judged."""
    with policies.fresh(force):
        data = steps.current_data(data)
        found = steps.search(search, recipe, data)
        model = to_candidate(found.recipe, data, policy, force=force, search=found)
        steps.keep_search(found, model)
        return model

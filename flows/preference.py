"""What people prefer → a candidate that answers more like it, and, if the gate says so, the champion."""

from prefect import flow

from components.recipes import GatePolicy, Preference
from components.refs import DataRef, ModelRef
from flows import policies, run_names, steps


@flow(flow_run_name=run_names.named("preference {recipe.name}"), **policies.KEPT)
def preference(
    recipe: Preference, data: DataRef | None = None, policy: GatePolicy | None = None, force: bool = False
) -> ModelRef:
    """Trains on the feedback's pairs or thumbs, measures beside the reference, registers, and asks the gate."""
    with policies.fresh(force):
        data = steps.current_data(data)
        recipe = steps.prefer(recipe, data)
        run = steps.train(recipe, data, force)
        scores = steps.measure(recipe, data, run)
        reference = steps.measure_reference(recipe, data)
        baseline = steps.measure_baseline(recipe, data)
        model = steps.register(recipe, data, run, scores, baseline, reference)
        judgement = steps.judge(model, policies.gate(policy))
        if judgement.verdict.verdict == "promote" and recipe.role == "candidate":
            steps.promote(judgement)
        steps.tell_preferred(recipe, data, model)
        return model

"""Pretrained weights and a labelled table → a candidate, and, if the gate says so, the champion."""

from prefect import flow

from components.recipes import Finetune, GatePolicy
from components.refs import DataRef, ModelRef
from components.training.search import Found
from flows import policies, run_names, steps


@flow(flow_run_name=run_names.named("finetune {recipe.name}"), **policies.KEPT)
def finetune(
    recipe: Finetune, data: DataRef | None = None, policy: GatePolicy | None = None, force: bool = False
) -> ModelRef:
    """Trains, measures beside the plain baseline, registers, and asks the gate; a control is never promoted."""
    with policies.fresh(force):
        return to_candidate(recipe, steps.current_data(data), policy, force=force)


def to_candidate(
    recipe: Finetune, data: DataRef, policy: GatePolicy | None, *, force: bool, search: Found | None = None
) -> ModelRef:
    """Within a flow: a version of the recipe on this data, judged, and promoted where the gate says so.

    Args:
        search: what found the recipe's fields.
    """
    run = steps.train(recipe, data, force)
    scores = steps.measure(recipe, data, run)
    baseline = steps.measure_baseline(recipe, data)
    model = steps.register(recipe, data, run, scores, baseline, search=search)
    judgement = steps.judge(model, policies.gate(policy))
    if judgement.verdict.verdict == "promote" and recipe.role == "candidate":
        steps.promote(judgement)
    return model

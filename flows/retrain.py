"""Feedback → a better champion, or the proof that it is not better."""

from typing import Any

from prefect import flow
from prefect.states import Completed

from components.recipes import Finetune, GatePolicy, TriggerPolicy
from flows import policies, shown, steps


@flow(flow_run_name="retrain {table}", on_failure=[policies.let_go], on_cancellation=[policies.let_go], **policies.KEPT)
def retrain(
    table: str,
    recipe: Finetune | None = None,
    trigger: TriggerPolicy | None = None,
    cut: int | None = None,
    policy: GatePolicy | None = None,
    force: bool = False,
) -> Any:
    """Retrains from the base weights on all admitted feedback; ends quietly, with the reason, where it should not.

    Without `trigger`, anything new is enough. The same cut gives the same weights.
    """
    with policies.fresh(force):
        claim = steps.claim(table, trigger, cut, force)
        shown.line(f"{claim.outcome}: {claim.reason}")
        if claim.outcome != "Granted":
            return Completed(name=claim.outcome, message=claim.reason)
        recipe = steps.recipe_of(table, recipe)
        collected = steps.collect(table, claim.cut, recipe, not claim.needs_feedback)
        if collected.data is None:
            steps.consume(collected, None)
            return Completed(name="NothingAdmitted", message=f"all {collected.num_refused} rows were refused")
        run = steps.train(recipe, collected.data, force)
        scores = steps.measure(recipe, collected.data, run)
        baseline = steps.measure_baseline(recipe, collected.data)
        model = steps.register(recipe, collected.data, run, scores, baseline)
        judgement = steps.judge(model, policies.gate(policy))
        if judgement.verdict.verdict == "promote":
            steps.promote(judgement)
        steps.tell(collected, model, recipe)
        steps.consume(collected, judgement)
        return Completed(message=claim.reason, data=model)

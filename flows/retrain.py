"""Feedback → a better champion, or the proof that it is not better."""

from typing import Any

from prefect import flow
from prefect.states import Completed

from components.recipes import Finetune, GatePolicy, TriggerPolicy
from components.refs import DataRef
from flows import policies, run_names, shown, steps


@flow(
    flow_run_name=run_names.named("retrain {table}"),
    on_failure=[policies.let_go],
    on_cancellation=[policies.let_go],
    **policies.KEPT,
)
def retrain(
    table: str,
    recipe: Finetune | None = None,
    trigger: TriggerPolicy | None = None,
    cut: int | None = None,
    policy: GatePolicy | None = None,
    force: bool = False,
    data: DataRef | None = None,
) -> Any:
    """Retrains from the base weights on all admitted feedback; ends quietly, with the reason, where it should not.

    Without `trigger`, anything new is enough. The same cut gives the same weights. `data`: on another machine, what
    the feedback is added to. A recipe that needs a GPU is handed over to the pool that has one. Where the gate asks for
    several seeds, the others are trained, measured and registered too; one comparison decides.
    """
    with policies.fresh(force):
        steps.adopt(data)
        claim = steps.hold(table, steps.claim(table, trigger, cut, force))
        shown.line(f"{claim.outcome}: {claim.reason}")
        if claim.outcome != "Granted":
            return Completed(name=claim.outcome, message=claim.reason)
        given = {"table": table, "recipe": recipe, "trigger": trigger, "cut": cut, "policy": policy, "force": force}
        recipe = steps.recipe_of(table, recipe)
        if other := steps.hand_over(table, recipe, given):
            return Completed(name="HandedOver", message=shown.handed_over(other), data={"handed_over_to": other})
        collected = steps.collect(table, claim.cut, recipe, not claim.needs_feedback)
        if collected.data is None:
            steps.consume(collected, None)
            return Completed(name="NothingAdmitted", message=f"all {collected.num_refused} rows were refused")
        run = steps.train(recipe, collected.data, force)
        scores = steps.measure(recipe, collected.data, run)
        baseline = steps.measure_baseline(recipe, collected.data)
        gate = policies.gate(policy)
        for further in policies.other_seeds(recipe, gate):
            twin = steps.train(further, collected.data, force)
            steps.register(further, collected.data, twin, steps.measure(further, collected.data, twin), baseline)
        model = steps.register(recipe, collected.data, run, scores, baseline)  # last: the newest is the one to judge
        judgement = steps.judge(model, gate, collected, recipe.task)
        if judgement.verdict.verdict == "promote":
            steps.promote(judgement)
        steps.tell(collected, model, recipe)
        steps.consume(collected, judgement)
        return Completed(message=claim.reason, data=model)

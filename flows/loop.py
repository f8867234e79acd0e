"""One turn of the whole loop, on the worker, through deployments."""

from prefect import flow

from components.recipes import Loop
from flows import places, policies, run_names, steps


@flow(flow_run_name=run_names.named("loop {recipe.name}"), **policies.KEPT)
def loop(recipe: Loop, force: bool = False) -> None:
    """Ingest, pretrain, fine-tune, rate, wait for the retraining that starts by itself, train the control."""
    plan = policies.plan(recipe)
    steps.fetch(plan.assets, plan.bases)
    data = steps.stage("ingest", "ingest/cpu", {"recipe": plan.ingest, "force": force})
    base = {"recipe": plan.pretrain, "data": data, "force": force}
    steps.stage("pretrain", places.deployment_of(plan.pretrain), base)
    for tuned in plan.finetune:
        given = {"recipe": tuned, "data": data, "force": force}
        steps.stage(f"finetune {tuned.table}", places.deployment_of(tuned), given)
    steps.await_champion(recipe.rater.table)
    steps.rate(recipe.rater)
    steps.await_retraining(recipe.rater.table)
    steps.await_champion(recipe.rater.table)
    control = steps.control_of(plan.rated)
    if control is not None:
        given = {"recipe": control[0], "data": control[1], "force": force}
        steps.stage("control", places.deployment_of(control[0]), given)

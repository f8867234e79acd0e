"""A registered version before the gate, on somebody's word."""

from prefect import flow

from components.evaluation.candidate import Judgement
from components.recipes import GatePolicy
from flows import policies, run_names, steps


@flow(flow_run_name=run_names.named("promote {table} v{version}"), **policies.KEPT)
def promote(table: str, version: int, policy: GatePolicy | None = None) -> Judgement:
    """Judges the version anew against the champion of now, and promotes it only if the gate says so."""
    model = steps.find(table, version)
    judgement = steps.judge_again(model, policies.gate(policy))
    if judgement.verdict.verdict == "promote":
        steps.promote_again(judgement)
    return judgement

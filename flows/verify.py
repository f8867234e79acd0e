"""A registered version, retrained from its lock and compared."""

from prefect import flow

from components.training.verify import Verification
from flows import policies, run_names, shown, steps


@flow(flow_run_name=run_names.named("verify {model}"), **policies.KEPT)
def verify(model: str, anyway: bool = False) -> Verification:
    """Says identical, different or not comparable of MODEL[@VERSION] (default: the champion)."""
    found = steps.verify(model, anyway)
    shown.registered(found.model)
    shown.facts(f"{found.model} retrained", {"verdict": found.verdict, "to compare": found.remedy or "nothing to do"})
    return found

"""What a model took to train, takes to keep and takes to answer: evidence beside the gate's verdict.

It decides nothing.
"""

import time
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from components.evaluation.robustness import Probe, Say, model_in
from components.tasks import get_task

if TYPE_CHECKING:
    import pandas as pd

    from components.ledger.queries import LedgerQueries
    from components.recipes import GatePolicy
    from components.refs import ModelRef
    from components.registry import Registry
    from components.settings import Settings

TRAINING = "train"


class ModelCost(BaseModel):
    """One model. A figure is None where nobody counted it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weight_bytes: int
    """Of the version's own safetensors: of adapters, without what they lie on."""
    train_seconds: float | None = None
    cpu_seconds: float | None = None
    energy_joules: float | None = None
    energy_source: str | None = None
    """As in the ledger: `rapl` or `nvml`, measured; `estimate: …` with what it assumes."""
    money: float | None = None
    """Of energy and time, at the prices of when it was judged."""
    seconds_per_example: float | None = None
    """Answering test rows in batches, on the machine that judged."""


class CostPair(BaseModel):
    """Both models. `champion` is None where it was the plain baseline."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_timed: int
    """Test rows behind `seconds_per_example`; 0: it was not timed."""
    currency: str
    challenger: ModelCost
    champion: ModelCost | None


def cost_pair(
    challenger: "ModelRef",
    champion: "ModelRef | None",
    rows: "pd.DataFrame",
    *,
    registry: "Registry",
    ledger: "LedgerQueries",
    policy: "GatePolicy",
    settings: "Settings",
    probe: Probe | None,
) -> CostPair:
    """Both models' trainings out of the ledger, their weights, and their time for an answer on `timed_rows` rows.

    Args:
        rows: of the test split.
        probe: what was timed already on more rows.

    Raises:
        RegistryError, AssetError: a version's weights cannot be had.
    """
    few = list(rows["text"].head(policy.timed_rows))

    def cost(model: "ModelRef", timed: float | None) -> ModelCost:
        folder = registry.fetch(model, settings)
        if timed is None and few:
            own = get_task(registry.get(model).task)  # a head beside a prompt, or the other way
            timed = seconds_per_example(model_in(folder, task=own), few)
        return ModelCost(
            weight_bytes=sum(file.stat().st_size for file in folder.glob("*.safetensors")),
            seconds_per_example=timed,
            **_training(model.run_id, ledger, settings),
        )

    theirs = probe.champion.seconds_per_example if probe and probe.champion else None
    return CostPair(
        num_timed=probe.num_examples if probe else len(few),
        currency=settings.currency,
        challenger=cost(challenger, probe.challenger.seconds_per_example if probe else None),
        champion=cost(champion, theirs) if champion else None,
    )


def seconds_per_example(say: Say, texts: list[str]) -> float:
    """Mean time of an answer; the first one, which pays for what is set up once, is not counted."""
    say(texts[:1])
    started = time.perf_counter()
    say(texts)
    return (time.perf_counter() - started) / len(texts)


def _training(run_id: str, ledger: "LedgerQueries", settings: "Settings") -> dict[str, Any]:
    found = [one for one in ledger.costs(run_id) if one.stage == TRAINING]
    if not found:
        return {}
    one = found[-1]
    energy = None if one.energy_joules is None else one.energy_joules / 3.6e6 * settings.price_a_kwh
    return {
        "train_seconds": one.seconds,
        "cpu_seconds": one.cpu_seconds,
        "energy_joules": one.energy_joules,
        "energy_source": one.energy_source,
        "money": None if energy is None else energy + one.seconds / 3600 * settings.price_an_hour,
    }

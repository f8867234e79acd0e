"""Both models on the feedback that no training sees: evidence beside the gate's verdict.

It decides nothing and costs no look: what people say is a small sample, and not drawn as the test split is.
"""

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from components.evaluation.beside import champion_on, interval_of_mean
from components.evaluation.robustness import model_in
from components.tasks import get_task

if TYPE_CHECKING:
    import pandas as pd

    from components.refs import ModelRef
    from components.registry import Registry
    from components.settings import Settings

FEWEST = 30
"""Rows from which on an interval is told, as for slices."""


class FeedbackTest(BaseModel):
    """Means of the task's score over the rows; `champion` and `difference` are None where there is none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_examples: int
    challenger: float
    champion: float | None = None
    difference: float | None = None
    """Challenger − champion."""
    interval: tuple[float, float] | None = None
    """95 % of the difference, by bootstrap over the rows; None for fewer than `FEWEST`."""


def on_feedback(
    challenger: "ModelRef", rows: "pd.DataFrame", *, task: str, registry: "Registry", settings: "Settings"
) -> FeedbackTest | None:
    """Ask both models what the people kept aside have answered; None where nobody has.

    Args:
        rows: as `Curated.kept_aside`.

    Raises:
        RegistryError, AssetError: a version's weights cannot be had.
    """
    if rows.empty:
        return None
    language_task = get_task(task)
    say = model_in(registry.fetch(challenger, settings), task=language_task)
    mine = language_task.score(say(list(rows["text"])), rows)["score"].to_numpy(float)
    served = champion_on(challenger, rows, task=language_task, registry=registry, settings=settings)
    if served is None:
        return FeedbackTest(num_examples=len(rows), challenger=float(mine.mean()))
    theirs = served[1]["score"].to_numpy(float)
    differences = mine - theirs
    return FeedbackTest(
        num_examples=len(rows),
        challenger=float(mine.mean()),
        champion=float(theirs.mean()),
        difference=float(differences.mean()),
        interval=interval_of_mean(differences) if len(rows) >= FEWEST else None,
    )

"""What stands beside a model's figures on a file: its slices, and the champion of the same table on the same rows."""

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from components.evaluation import slices
from components.evaluation.metrics import interval, summarise
from components.recipes import GatePolicy
from components.refs import ModelRef
from components.registry import Registry
from components.settings import Settings
from components.tasks import get_task
from components.tasks.base import Task, column_type

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import pandas as pd

KINDS = GatePolicy.model_validate({"slices": ("label", "source", "length", "language", "group")})
"""Every kind: a gate names those that may forbid something, a reader wants to see where the errors are."""
NUM_RESAMPLES = 1000


class FileSlice(BaseModel):
    """A part of a file's rows. Means are of the task's score."""

    model_config = ConfigDict(frozen=True)

    name: str
    """Such as `length: long`."""
    num_rows: int
    mean: float
    interval: tuple[float, float]
    """95 %, by bootstrap over the slice's rows."""
    champion: float | None = None
    baseline: float | None = None


class FileChampion(BaseModel):
    """The champion of the model's table on the same rows."""

    model_config = ConfigDict(frozen=True)

    version: int
    weights_sha256: str
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    difference: float
    """Model − champion, in the task's score."""
    difference_interval: tuple[float, float]
    """95 %, by bootstrap over the rows, each of which both have answered."""


def champion_on(
    ref: ModelRef, rows: "pd.DataFrame", *, task: Task, registry: Registry, settings: Settings
) -> "tuple[ModelRef, pd.DataFrame] | None":
    """The champion of the model's table and its scores on `rows`; None where it is the model, or there is none.

    Raises:
        RegistryError: its files are not to be had.
    """
    from components.models import pretrained
    from components.training.device import exact

    champion = registry.champion(ref.name)
    if champion is None or champion.version == ref.version:
        return None
    own = get_task(registry.get(champion).task)  # one table may have models of a head's and of a prompt's task
    if (own.columns, own.metric_name) != (task.columns, task.metric_name):
        return None
    model, tokenizer = pretrained.load_trained(registry.fetch(champion, settings), task=own)
    with exact():
        answers = own.answer(model, tokenizer, list(rows["text"]))
    return champion, own.score(answers, rows)


def compared(champion: ModelRef, theirs: "pd.DataFrame", mine: "pd.DataFrame", *, task: Task) -> FileChampion:
    """The champion's figures, and how far the model is from it row by row.

    Args:
        theirs, mine: as `Task.score`, of the same rows in the same order.
    """
    differences = mine["score"].to_numpy(float) - theirs["score"].to_numpy(float)
    return FileChampion(
        version=champion.version,
        weights_sha256=champion.weights_sha256,
        metrics=summarise(theirs, task),
        intervals=interval(theirs, task, num_resamples=NUM_RESAMPLES),
        difference=float(differences.mean()),
        difference_interval=interval_of_mean(differences),
    )


def sliced(
    rows: "pd.DataFrame",
    scored: "pd.DataFrame",
    *,
    task: Task,
    champion: "pd.DataFrame | None" = None,
    baseline: "pd.DataFrame | None" = None,
) -> tuple[FileSlice, ...]:
    """The rows by label, source, length, language and group, where a part has 30 rows or more.

    Args:
        rows: `id`, `text` and the task's columns; `source` and `group` where they are known.
        scored, champion, baseline: as `Task.score`, of these rows.
    """
    answer = task.columns[1]
    if "label" not in rows and column_type(task, answer) == "label":
        rows = rows.assign(label=rows[answer])
    scores = scored.set_index("id")["score"]
    beside = {
        name: frame.set_index("id")["score"]
        for name, frame in (("champion", champion), ("baseline", baseline))
        if frame is not None
    }
    found = []
    for name, ids in slices.groups(rows, KINDS).items():
        inside = scores[scores.index.isin(ids)].to_numpy(float)
        means = {who: float(theirs[theirs.index.isin(ids)].mean()) for who, theirs in beside.items()}
        found.append(
            FileSlice(
                name=name,
                num_rows=len(inside),
                mean=float(inside.mean()),
                interval=interval_of_mean(inside),
                champion=means.get("champion"),
                baseline=means.get("baseline"),
            )
        )
    return tuple(found)


def interval_of_mean(values: "Sequence[float] | np.ndarray", *, seed: int = 0) -> tuple[float, float]:
    """95 % by percentiles over resampled values (Efron and Tibshirani 1993, ch. 13)."""
    import numpy as np

    draw = np.random.default_rng(seed)
    array = np.asarray(values, np.float64)
    means = [array[draw.integers(0, len(array), len(array))].mean() for _ in range(NUM_RESAMPLES)]
    low, high = np.percentile(means, (2.5, 97.5)).tolist()
    return low, high

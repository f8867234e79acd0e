"""What a version said to each of its test rows, and what it was found worth on files, for the models page."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.settings import Settings
from dashboard.records import ModelVersion
from dashboard.replies import read_json

if TYPE_CHECKING:
    import pandas as pd

RESULT = "result.json"


@dataclass(frozen=True)
class MeasuredRow:
    """One test row of a version. Personal data in it is masked, as it is in the data version."""

    text: str
    """Empty where the data version's rows are not on this machine."""
    target: str
    prediction: str
    score: float
    confidence: float | None
    slices: frozenset[str]
    """Names as the gate has them: `label: sympy`."""


@dataclass(frozen=True)
class OnFile:
    """A figure of a version on a file."""

    file: str
    version: int
    at: float
    num_rows: int
    metric: str
    value: float
    low: float
    high: float
    baseline: float | None
    champion: float | None
    champion_version: int | None


def measured_rows(scores: "pd.DataFrame", model: ModelVersion, *, settings: Settings) -> tuple[MeasuredRow, ...]:
    """Worst first, and among equals the surest: those errors tell most.

    Args:
        scores: as `Task.score`, of the version's test rows.
    """
    rows = _test_rows(model, settings)
    inside = _slices(rows) if rows is not None else {}
    texts = {} if rows is None else dict(zip(rows["id"], rows["text"], strict=True))
    found = [
        MeasuredRow(
            text=str(texts.get(row["id"], "")),
            target=str(row.get("target", "")),
            prediction=str(row.get("prediction", "")),
            score=float(row["score"]),
            confidence=None if row.get("confidence") is None else float(row["confidence"]),
            slices=frozenset(name for name, ids in inside.items() if row["id"] in ids),
        )
        for row in scores.to_dict("records")
    ]
    return tuple(sorted(found, key=lambda row: (row.score, -(row.confidence or 0.0))))


def _test_rows(model: ModelVersion, settings: Settings) -> "pd.DataFrame | None":
    """None where the version's folder is not checked out here: a page does not fetch one from the remote."""
    from components.data import tables

    folder = settings.workspace.data / "versions" / model.tags.get("banyan.data_version", "-")
    table = str(model.recipe.get("table") or model.table)
    return tables.read_split(folder, table, "test") if (folder / table / "test.parquet").is_file() else None


def _slices(rows: "pd.DataFrame") -> dict[str, frozenset[str]]:
    from components.evaluation.slices import groups
    from components.recipes import GatePolicy

    return groups(rows, GatePolicy.model_validate({}))


def on_files(model: ModelVersion, *, settings: Settings) -> tuple[OnFile, ...]:
    """What `banyan evaluate MODEL --file F` kept of any version of a registered model, newest first."""
    folder = settings.workspace.root / "evaluations" / model.task
    found = [one for path in folder.glob(f"{model.name}-v*/{RESULT}") if (one := _on_file(path, model.name))]
    return tuple(sorted(found, key=lambda one: -one.at))


def _on_file(path: Path, name: str) -> OnFile | None:
    kept: dict[str, Any] | None = read_json(path)
    if kept is None or kept["model"] != name:
        return None
    metric, (low, high) = next(iter(kept["intervals"].items()))  # the task's own metric comes first
    champion = kept.get("champion") or {}
    return OnFile(
        file=Path(kept["file"]).name,
        version=int(kept["version"]),
        at=path.stat().st_mtime,
        num_rows=int(kept["num_rows"]),
        metric=metric,
        value=float(kept["metrics"][metric]),
        low=float(low),
        high=float(high),
        baseline=(kept.get("baseline") or {}).get(metric),
        champion=(champion.get("metrics") or {}).get(metric),
        champion_version=champion.get("version"),
    )

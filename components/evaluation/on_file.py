"""A registered model measured on a file: row by row, with intervals, beside the plain baseline."""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from components.data import versioning
from components.data.files import read_file
from components.data.tables import content_id, table_info
from components.errors import BanyanError, UsageError
from components.evaluation.candidate import RECIPE_TAG
from components.evaluation.metrics import interval, summarise
from components.evaluation.registered import find_model, registry_of
from components.recipes import FileSource, Finetune, parse_recipe
from components.refs import ModelRef
from components.registry import VersionInfo
from components.settings import Settings
from components.tasks import get_task
from components.tasks.base import Task

if TYPE_CHECKING:
    import pandas as pd

PER_EXAMPLE = "per_example.parquet"
RESULT = "result.json"


class FileEvaluation(BaseModel):
    """What a model is worth on a file; `result.json` of its folder."""

    model_config = ConfigDict(frozen=True)

    model: str
    version: int
    weights_sha256: str
    task: str
    file: str
    file_sha256: str
    num_rows: int
    rejected: dict[str, int]
    """Reason → rows of the file that were not measured on."""
    unknown_labels: tuple[str, ...]
    """Labels of the file that the model was never taught: it cannot be right about them."""
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    """Metric → 95 % bootstrap interval over the file's rows."""
    baseline: dict[str, float] | None
    """The task's plain baseline, fitted on the rows that the model was trained on; None where they are not here."""
    baseline_intervals: dict[str, tuple[float, float]] | None
    per_example: Path
    """Parquet: what was said to each row and what that scores."""


def evaluate_on_file(
    which: str,
    file: Path,
    *,
    task: str,
    settings: Settings,
    format: str | None = None,
    columns: dict[str, str] | None = None,
    max_rows: int | None = None,
) -> FileEvaluation:
    """Ask a registered model every row of a file. The result and its rows are kept in the workspace.

    Args:
        which: `banyan-library`, `library`, `library@3`.
        format: as `FileSource.format`.
        columns: our column → the file's.
        max_rows: the first so many usable rows only.

    Raises:
        UsageError: the model is another task's; or the file cannot be read, or has no row of the task.
        VersionNotFound, ServiceDown: there is no such model, or no registry.
    """
    from components.models import pretrained
    from components.training.device import exact

    language_task = get_task(task)
    source = FileSource(
        path=file.expanduser().absolute(), table="file", task=task, format=format, columns=columns or {}
    )
    rows, rejected = rows_of(source, language_task)
    rows = rows if max_rows is None else rows.head(max_rows)
    registry = registry_of(settings)
    ref = find_model(which, registry=registry)
    info = registry.get(ref)
    if info.task != task:
        raise UsageError(f"{ref} is a model of task {info.task}, not {task}", f"measure it with: --task {info.task}")
    model, tokenizer = pretrained.load_trained(registry.fetch(ref, settings), task=language_task)
    with exact():
        answers = language_task.answer(model, tokenizer, list(rows["text"]))
    scored = language_task.score(answers, rows)
    plain = _baseline(info, rows, language_task, settings)
    digest = hashlib.sha256(source.path.read_bytes()).hexdigest() if source.path else ""
    folder = _folder(ref, task, digest, max_rows, settings)
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in ((PER_EXAMPLE, scored), ("baseline.parquet", plain)):
        if frame is not None:
            frame.to_parquet(folder / name, index=False)
    taught = _taught(model, language_task)
    result = FileEvaluation(
        model=ref.name,
        version=ref.version,
        weights_sha256=ref.weights_sha256,
        task=task,
        file=str(file),
        file_sha256=digest,
        num_rows=len(rows),
        rejected=rejected,
        unknown_labels=tuple(sorted(language_task.labels(list(rows[language_task.columns[1]])) - taught)),
        metrics=summarise(scored, language_task),
        intervals=interval(scored, language_task),
        baseline=None if plain is None else summarise(plain, language_task),
        baseline_intervals=None if plain is None else interval(plain, language_task),
        per_example=folder / PER_EXAMPLE,
    )
    (folder / RESULT).write_text(result.model_dump_json(indent=1), "utf-8")
    return result


def rows_of(source: FileSource, task: Task) -> "tuple[pd.DataFrame, dict[str, int]]":
    """The file's usable rows in the task's columns with an `id` each, in its order; and reason → the other rows.

    Nothing is masked, shortened or deduplicated: a public set is measured as it is.
    """
    import pandas as pd

    reading = read_file(source, max_chars=1 << 40)
    kept: list[dict[str, str]] = []
    times: Counter[str] = Counter()
    for row in reading.rows:
        if not row.reason:
            row_id = content_id(row.text)
            times[row_id] += 1
            again = f"#{times[row_id]}" if times[row_id] > 1 else ""
            kept.append({"id": row_id + again, "text": row.text, task.columns[1]: row.answer, **row.more})
    rejected = Counter(row.reason.partition(":")[0] for row in reading.rows if row.reason)
    return pd.DataFrame(kept, columns=["id", *task.columns]), dict(sorted(rejected.items()))


def last_result(task: str, *, settings: Settings) -> FileEvaluation | None:
    """The newest evaluation on a file, of any model of the task; None before the first."""
    found = sorted(
        (settings.workspace.root / "evaluations" / task).glob(f"*/{RESULT}"), key=lambda path: path.stat().st_mtime
    )
    return FileEvaluation.model_validate_json(found[-1].read_text("utf-8")) if found else None


def _folder(ref: ModelRef, task: str, digest: str, max_rows: int | None, settings: Settings) -> Path:
    rows = f"-first-{max_rows}" if max_rows else ""
    return settings.workspace.root / "evaluations" / task / f"{ref.name}-v{ref.version}-{digest[:12]}{rows}"


def _recipe(info: VersionInfo) -> Finetune | None:
    text = info.tags.get(RECIPE_TAG)
    recipe = parse_recipe(json.loads(text), origin=f"the recipe of {info.ref}") if text else None
    return recipe if isinstance(recipe, Finetune) else None


def _baseline(info: VersionInfo, rows: "pd.DataFrame", task: Task, settings: Settings) -> "pd.DataFrame | None":
    from components.training.finetuning import training_rows

    recipe = _recipe(info)
    if recipe is None:
        return None
    try:
        data_dir = versioning.path_of(versioning.manifest(info.data_version, settings=settings).ref, settings)
        labels = table_info(data_dir, recipe.table).labels
        return task.baseline(training_rows(recipe, data_dir=data_dir), rows, labels)
    except BanyanError:  # its data are not of this workspace
        return None


def _taught(model: Any, task: Task) -> set[str]:
    if task.head not in ("classifier", "tagger"):
        return set()
    names = {str(name) for name in model.config.id2label.values()}
    return names if task.head == "classifier" else {name[2:] for name in names if name[1:2] == "-"}

"""A registered model measured on a file: row by row, with intervals, beside the plain baseline."""

import hashlib
import json
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from components.data import versioning
from components.data.files import read_file
from components.data.tables import content_id, table_info
from components.errors import BanyanError, UsageError
from components.evaluation.beside import FileChampion, FileSlice, champion_on, compared, interval_of_mean, sliced
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
    """Labels of the file that the model was never taught, where that is known: it cannot be right about them."""
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    """Metric → 95 % bootstrap interval over the file's rows."""
    baseline: dict[str, float] | None
    """The task's plain baseline, fitted on the rows that the model was trained on; None where they are not here."""
    baseline_intervals: dict[str, tuple[float, float]] | None
    champion: FileChampion | None = None
    """The champion of the same table; None where the model is it, or there is none."""
    slices: tuple[FileSlice, ...] = ()
    """Parts of the file of 30 rows and more."""
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
    num_samples: int | None = None,
) -> FileEvaluation:
    """Ask a registered model every row of a file. The result and its rows are kept in the workspace.

    Args:
        which: `banyan-library`, `library`, `library@3`.
        format: as `FileSource.format`.
        columns: our column → the file's.
        max_rows: the first so many usable rows only.
        num_samples: of code also pass@1 and pass@k for this k, estimated from twice as many drawn answers a row
            (Chen et al. 2021).

    Raises:
        UsageError: the model is another task's; the task has no figure of several answers; or the file cannot be read,
            or has no row of the task.
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
        drawn = {} if num_samples is None else language_task.drawn(model, tokenizer, rows, k=num_samples)
    if num_samples is not None and not drawn:
        raise UsageError(f"task {task} has no figure of several drawn answers", "leave --samples out")
    scored = language_task.score(answers, rows)
    taught = _training(info, settings)
    plain = None if taught is None else language_task.baseline(taught.rows, rows, taught.labels)
    served = champion_on(ref, rows, task=language_task, registry=registry, settings=settings)
    theirs = served[1] if served else None
    digest = hashlib.sha256(source.path.read_bytes()).hexdigest() if source.path else ""
    folder = _folder(ref, task, digest, max_rows, settings)
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in ((PER_EXAMPLE, scored), ("baseline.parquet", plain), ("champion.parquet", theirs)):
        if frame is not None:
            frame.to_parquet(folder / name, index=False)
    result = FileEvaluation(
        model=ref.name,
        version=ref.version,
        weights_sha256=ref.weights_sha256,
        task=task,
        file=str(file),
        file_sha256=digest,
        num_rows=len(rows),
        rejected=rejected,
        unknown_labels=unknown_labels(
            language_task, list(rows[language_task.columns[1]]), model, None if taught is None else taught.labels
        ),
        metrics=summarise(scored, language_task) | {name: statistics.fmean(each) for name, each in drawn.items()},
        intervals=interval(scored, language_task) | {name: interval_of_mean(each) for name, each in drawn.items()},
        baseline=None if plain is None else summarise(plain, language_task),
        baseline_intervals=None if plain is None else interval(plain, language_task),
        champion=compared(served[0], served[1], scored, task=language_task) if served else None,
        slices=sliced(rows, scored, task=language_task, champion=theirs, baseline=plain),
        per_example=folder / PER_EXAMPLE,
    )
    (folder / RESULT).write_text(result.model_dump_json(indent=1), "utf-8")
    return result


def rows_of(source: FileSource, task: Task) -> "tuple[pd.DataFrame, dict[str, int]]":
    """The file's usable rows in its order; and reason → the other rows.

    They have `id`, the task's columns, source, group, and `references`: all right answers of a row that lists several.

    Nothing is masked, shortened or deduplicated: a public set is measured as it is.
    """
    import pandas as pd

    reading = read_file(source, max_chars=1 << 40)
    kept: list[dict[str, Any]] = []
    times: Counter[str] = Counter()
    for row in reading.rows:
        if not row.reason:
            row_id = content_id(row.text)
            times[row_id] += 1
            again = f"#{times[row_id]}" if times[row_id] > 1 else ""
            known = {"source": row.source, "group": row.group, "references": row.references or (row.answer,)}
            kept.append({"id": row_id + again, "text": row.text, task.columns[1]: row.answer, **row.more, **known})
    rejected = Counter(row.reason.partition(":")[0] for row in reading.rows if row.reason)
    return pd.DataFrame(kept, columns=["id", *task.columns, "source", "group", "references"]), dict(
        sorted(rejected.items())
    )


def last_result(task: str, *, settings: Settings) -> FileEvaluation | None:
    """The newest evaluation on a file, of any model of the task; None before the first. One of another shape, as an
    earlier version wrote it, is passed over."""
    found = (settings.workspace.root / "evaluations" / task).glob(f"*/{RESULT}")
    for path in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            return FileEvaluation.model_validate_json(path.read_text("utf-8"))
        except ValidationError:
            continue
    return None


def _folder(ref: ModelRef, task: str, digest: str, max_rows: int | None, settings: Settings) -> Path:
    rows = f"-first-{max_rows}" if max_rows else ""
    return settings.workspace.root / "evaluations" / task / f"{ref.name}-v{ref.version}-{digest[:12]}{rows}"


def _recipe(info: VersionInfo) -> Finetune | None:
    text = info.tags.get(RECIPE_TAG)
    recipe = parse_recipe(json.loads(text), origin=f"the recipe of {info.ref}") if text else None
    return recipe if isinstance(recipe, Finetune) else None


@dataclass(frozen=True)
class _Training:
    """What a version was trained on."""

    rows: "pd.DataFrame"
    labels: Sequence[str]


def _training(info: VersionInfo, settings: Settings) -> _Training | None:
    from components.training.finetuning import training_rows

    recipe = _recipe(info)
    if recipe is None:
        return None
    try:
        data_dir = versioning.path_of(versioning.manifest(info.data_version, settings=settings).ref, settings)
        return _Training(training_rows(recipe, data_dir=data_dir), table_info(data_dir, recipe.table).labels)
    except BanyanError:  # its data are not of this workspace
        return None


def unknown_labels(
    task: Task, targets: Sequence[str], model: Any, table_labels: Sequence[str] | None
) -> tuple[str, ...]:
    """Labels of a file that the model was never taught, sorted; none where that cannot be known.

    Args:
        table_labels: of the table that it was trained on; a model that writes its labels has no others. None: unknown.
    """
    if task.head in ("classifier", "tagger"):
        names = [str(name) for name in model.config.id2label.values()]
        taught = set(names) if task.head == "classifier" else {name[2:] for name in names if name[1:2] == "-"}
    elif table_labels is not None:
        taught = set(table_labels)
    else:
        return ()
    return tuple(sorted(task.labels(targets) - taught))

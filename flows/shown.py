"""What a run shows of itself in Prefect: lines in its log, progress, links to where its results lie."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    update_progress_artifact,
)
from prefect.logging import get_run_logger

from components.data import versioning
from components.errors import ServiceDown
from components.evaluation.candidate import Judgement
from components.feedback.retraining import Collected
from components.refs import DataRef, ModelRef
from components.settings import load_settings
from components.supervisor import addresses
from components.training.run import TrainingRun

if TYPE_CHECKING:
    from components.training.result import Progress
    from components.training.search import Found

EVERY_SECONDS = 1.5


def line(text: str) -> None:
    """A line of the run's log."""
    get_run_logger().info(text)


@contextmanager
def progress(name: str) -> "Iterator[Callable[[Progress], None]]":
    """Shows how far a training is: give what it yields to the training."""
    with counted(f"train {name}") as show:

        def watch(now: "Progress") -> None:
            left = f"{now.remaining_seconds:.0f} s left"
            show(now.step, now.num_steps, f"loss {now.loss:.3f}, {now.tokens_per_second:,.0f} tokens/s, {left}")

        yield watch


@contextmanager
def counted(name: str) -> Iterator[Callable[..., None]]:
    """Shows how many of how many are done: yields a function (done, of how many, words)."""
    artifact = create_progress_artifact(0.0, description=name)
    shown_at = [time.monotonic()]

    def show(done: int, total: int, words: str = "") -> None:
        if time.monotonic() - shown_at[0] < EVERY_SECONDS and done < total:
            return
        shown_at[0] = time.monotonic()
        percent = min(99.9, 100.0 * done / max(1, total))  # 100 is for the end of the step
        text = f"{name}: {done} of {total}" + (f", {words}" if words else "")
        update_progress_artifact(artifact, percent, description=text)  # type: ignore[arg-type]

    yield show
    update_progress_artifact(artifact, 100.0, description=name)  # type: ignore[arg-type]


@contextmanager
def timed(stage: str) -> Iterator[None]:
    """Records the seconds of a stage under this run."""
    from flows.waiting import record

    begun = time.monotonic()
    yield
    record(stage, time.monotonic() - begun, settings=load_settings())


def data(ref: DataRef) -> DataRef:
    """Links the data version and its validation report."""
    manifest = versioning.manifest(ref.version, settings=load_settings())
    rows = "\n".join(
        f"| {table} | " + ", ".join(f"{one.total} {split}" for split, one in splits.items()) + " |"
        for table, splits in manifest.rows.items()
    )
    checks = f"{report(ref)}, {manifest.num_checks} checks" if manifest.docs else ""
    create_markdown_artifact(
        f"Data version `{ref.version}`\n\n| table | rows |\n|---|---|\n{rows}\n\n{checks}",
        key="data-version",
        description=f"data version {ref.version[:12]}",
    )
    return ref


def report(ref: DataRef) -> str:
    """Where a version's validation report is to be read, as Markdown: on the dashboard, which reads the files itself.

    A browser opens no `file://` from a page of a server, and on a worker elsewhere that would be a file of its own.
    """
    try:
        where = addresses(load_settings()).dashboard
    except ServiceDown:  # a worker elsewhere is not told the dashboard's address
        return "Validation report: on the dashboard's page of data"
    return f"[Validation report]({where}/data?version={ref.version})"


def searched(found: "Found") -> "Found":
    """All trials, the best one first."""
    create_markdown_artifact(
        f"Judged on {found.validation_rows} held-out training rows.\n\n" + "\n".join(found.lines()),
        key="search",
        description=f"{found.recipe.name}: {len(found.trials)} trials, the best loses {found.best.loss:.4f}",
    )
    return found


def trained(run: TrainingRun) -> TrainingRun:
    """Links the run in MLflow."""
    url = addresses(load_settings()).mlflow
    create_link_artifact(
        f"{url}/#/experiments/search/runs/{run.run_id}", "run in MLflow", key="mlflow-run", description=run.model
    )
    return run


def registered(model: ModelRef) -> ModelRef:
    """Links the registered version."""
    url = f"{addresses(load_settings()).mlflow}/#/models/{model.name}/versions/{model.version}"
    create_link_artifact(url, str(model), key="model-version", description=f"weights {model.weights_sha256[:16]}")
    return model


def verdict(judgement: Judgement) -> Judgement:
    """The gate's verdict in words."""
    found, other = judgement.verdict, judgement.champion or "the plain baseline"
    aside = ""
    if (feedback := found.feedback) is not None:
        theirs = "" if feedback.champion is None else f", {judgement.champion} {feedback.champion:.3f}"
        aside = (
            f"\n\nOn {feedback.num_examples} rows of feedback kept aside, which decide nothing: "
            f"{judgement.challenger} {feedback.challenger:.3f}{theirs}."
        )
    create_markdown_artifact(
        f"## {found.verdict}\n\n{judgement.challenger} against {other}: {found.reason}\n\n"
        f"Difference {found.difference:+.4f}, interval {found.low:+.4f} to {found.high:+.4f}, p {found.p_value:.4f}; "
        f"{found.num_wins} better, {found.num_losses} worse of {found.num_examples}.{aside}",
        key="gate",
        description=f"{judgement.challenger}: {found.verdict}",
    )
    line(f"{judgement.challenger} against {other}: {found.verdict}, {found.reason}")
    return judgement


def collected(found: Collected) -> Collected:
    """What became of the feedback up to the cut, and the data version that holds it."""
    if found.data is not None:
        data(found.data)
    reasons = "\n".join(f"| {reason} | {count} |" for reason, count in found.reasons.items())
    create_markdown_artifact(
        f"{found.num_admitted} rows admitted, {found.num_refused} refused.\n\n"
        f"| refused for | rows |\n|---|---|\n{reasons}",
        key="feedback",
        description=f"feedback on {found.table} up to {found.cut}",
    )
    return found


def handed_over(run_id: str) -> str:
    """Links the run that goes on elsewhere; one sentence."""
    url = f"{addresses(load_settings()).prefect}/runs/flow-run/{run_id}"
    create_link_artifact(url, "the run that trains", key="handed-over", description="in pool gpu")
    return "its recipe needs a GPU: it goes on in pool gpu"


def facts(title: str, values: dict[str, Any]) -> None:
    """A small table."""
    rows = "\n".join(f"| {name} | {value} |" for name, value in values.items())
    create_markdown_artifact(f"| {title} | |\n|---|---|\n{rows}", key="facts", description=title)

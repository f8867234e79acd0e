"""Two steps of a training through everything that hours of it would go through, so that mistakes are told at once."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from components.data import versioning
from components.data.packed_versions import data_for, located
from components.errors import CheckpointError, DataStoreError
from components.recipes import Finetune, Preference, Pretrain
from components.refs import DataRef
from components.settings import Settings
from components.training import bases, ensembles, preference_rows
from components.training.result import Progress, Trained

NUM_STEPS = 2
Watch = Callable[[Progress], None]


@dataclass(frozen=True)
class DryRun:
    name: str
    num_steps: int
    """That the training itself would take; of an ensemble, each member."""
    num_rows: int
    losses: tuple[float, ...]
    """Of the two steps, nats per target."""
    metrics: dict[str, float]
    answer: str
    """What the model of two steps says: a sample of a language model's, or the answer to the table's first row."""
    seconds: float
    num_members: int = 1
    """Of an ensemble, whose first member alone went through: the others differ in their seed."""

    def lines(self) -> list[str]:
        """For people."""
        said = " → ".join(f"{loss:.3f}" for loss in self.losses)
        heldout = f", {self.metrics['heldout_loss']:.3f} held out" if "heldout_loss" in self.metrics else ""
        return [
            f"{self.name} goes through: {self.num_rows} rows, {len(self.losses)} of {self.num_steps} steps, loss {said}"
            f"{heldout}; stopped after the first, resumed, saved, loaded and asked in {self.seconds:.0f} s.",
            *([f"That was the first of {self.num_members} members; they were not put together."] * self.is_one_of_many),
            "Nothing was kept or registered.",
        ]

    @property
    def is_one_of_many(self) -> bool:
        return self.num_members > 1


class _Stopped(Exception):
    """Stands for a kill."""


def dry_run_on_newest(recipe: Pretrain | Finetune, *, settings: Settings) -> DryRun:
    """`dry_run` on the newest data version.

    Raises:
        DataStoreError: there is none.
    """
    data = data_for(recipe, settings=settings)
    if data is None:
        raise DataStoreError("there is no data version yet", "first: banyan ingest FILE --task T")
    return dry_run(recipe, data=data, settings=settings)


def dry_run(recipe: Pretrain | Finetune, *, data: DataRef, settings: Settings) -> DryRun:
    """Two steps of the recipe on this data: tokenizer, rows, model, gradients, an evaluation, a checkpoint, a
    resumption after a stop, saving, loading, an answer. In a folder of its own, which is gone afterwards. Of an
    ensemble its first member alone: the others would take as long and show nothing else.

    Raises:
        TrainingError, AssetError, DataError, UsageError: as the training itself would.
        CheckpointError: it did not resume.
    """
    started = time.perf_counter()
    data_dir = versioning.path_of(data, settings)
    if isinstance(recipe, Pretrain):
        recipe = located(recipe, data=data, settings=settings)
    one, num_members = ensembles.first_member(recipe)
    update = {"num_epochs": None, "num_steps": NUM_STEPS, "checkpoint_every_steps": 1, "evaluate_every_steps": 1}
    short = one.model_copy(update=update)

    def stop(progress: Progress) -> None:
        if progress.step == NUM_STEPS:
            raise _Stopped

    with tempfile.TemporaryDirectory(prefix="banyan-dry-run-") as folder:
        run_dir = Path(folder)
        try:
            _train(short, data_dir=data_dir, run_dir=run_dir, settings=settings, on_step=stop)
        except _Stopped:
            trained = _train(short, data_dir=data_dir, run_dir=run_dir, settings=settings, on_step=lambda _: None)
        if trained.resumed_from != NUM_STEPS - 1:
            raise CheckpointError(
                f"{recipe.name} did not resume at step {NUM_STEPS - 1}, but at {trained.resumed_from}",
                f"is there room for a checkpoint in {folder}?",
            )
        num_rows = int(trained.metrics["num_rows"])
        return DryRun(
            name=recipe.name,
            num_steps=recipe.steps_over(num_rows),
            num_rows=num_rows,
            losses=trained.losses,
            metrics=trained.metrics,
            answer=_ask(recipe, trained, data_dir=data_dir),
            seconds=time.perf_counter() - started,
            num_members=num_members,
        )


def _train(
    recipe: Pretrain | Finetune, *, data_dir: Path, run_dir: Path, settings: Settings, on_step: Watch
) -> Trained:
    if isinstance(recipe, Pretrain):
        from components.training.pretraining import pretrain

        return pretrain(recipe, data_dir=data_dir, run_dir=run_dir, on_step=on_step)
    weights_dir = bases.weights(recipe, data_dir=data_dir, settings=settings)
    if isinstance(recipe, Preference):
        from components.training.alignment import align

        rows = preference_rows.read(recipe.rows, runs=settings.workspace.runs)
        return align(recipe, rows, weights_dir=weights_dir, run_dir=run_dir, on_step=on_step)
    from components.training.finetuning import finetune

    return finetune(recipe, data_dir=data_dir, weights_dir=weights_dir, run_dir=run_dir, on_step=on_step)


def _ask(recipe: Pretrain | Finetune, trained: Trained, *, data_dir: Path) -> str:
    """The model as it would be served: read from its folder."""
    if isinstance(recipe, Pretrain):
        from components.models.families import load_language_model

        load_language_model(trained.model_dir)
        return trained.sample
    from components.models.pretrained import load_trained
    from components.tasks import get_task
    from components.training.finetuning import training_rows

    task = get_task(recipe.task)
    model, tokenizer = load_trained(trained.model_dir, task=task)
    text = str(training_rows(recipe, data_dir=data_dir)["text"].iloc[0])
    return task.answer(model, tokenizer, [text])[0].output

"""A training as a run: one folder, one line in MLflow, one device, and its cost, whatever becomes of its process."""

import contextlib
import json
import logging
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from components.data import versioning
from components.errors import BanyanError, Transient
from components.ledger.store import Ledger
from components.recipes import Finetune, Preference, Pretrain
from components.refs import DataRef
from components.registry import Registry, model_name
from components.settings import Settings
from components.supervisor import addresses
from components.tracking import RunLog
from components.training import bases, hardware, launch, plan, preference_rows, scaling
from components.training import lock as locks
from components.training.device import resolve
from components.training.energy import Energy, Meter
from components.training.lock import Lock
from components.training.result import Evaluation, Progress, Trained, load
from components.training.turns import alone_on

log = logging.getLogger(__name__)

RUN_FILE = "run.json"
LOSSES = "losses.json"
"""Artifact of a run: the loss of every step, nats per target, as decimals that give the same bits back."""
CODE_DIFFERENCE = "code.diff"
"""Artifact of a run of code that was not committed: what to apply to the lock's revision."""

Watch = Callable[[Progress], None]


class TrainingRun(BaseModel):
    """A finished training, as what follows it needs to know it."""

    model_config = ConfigDict(frozen=True)

    model: str
    """Name of the registered model that a version of it belongs to."""
    run_id: str
    """Of the run in MLflow, which is still open: what follows logs to it, too."""
    run_dir: Path
    weights_sha256: str
    lock: dict[str, Any]
    metrics: dict[str, float]
    num_steps: int
    seconds: float
    """Spent training, over all attempts."""
    sample: str = ""
    flops: float = 0.0
    """Of the model, over the tokens that it saw; padding computes, and does not count."""
    utilisation: float = 0.0
    """Share of what a large product of matrices reaches here that the steps made of it (model flops utilisation)."""
    energy_joules: float | None = None
    energy_source: str = ""

    @property
    def model_dir(self) -> Path:
        return self.run_dir / "model"


def registered_model(recipe: Pretrain | Finetune) -> str:
    """A language model is named after its family, a fine-tuned one after its table."""
    return model_name(recipe.family if isinstance(recipe, Pretrain) else recipe.table)


def take_lock(recipe: Pretrain | Finetune, *, data: DataRef, settings: Settings) -> Lock:
    """What the training's weights will be determined by; its `key` names the run's folder.

    Raises:
        AssetError: the base weights cannot be had.
        DataStoreError, MappingError: the version, or its table, is not there.
        RecipeError: the settings ask for workers that there cannot be.
    """
    lock = _lock_of(recipe, data=data, settings=settings)
    started = launch.launch_of(recipe, settings=settings)
    return replace(lock, **started.conditions) if started else lock


def _lock_of(recipe: Pretrain | Finetune, *, data: DataRef, settings: Settings) -> Lock:
    data_dir = versioning.path_of(data, settings)
    if isinstance(recipe, Pretrain):
        from components.data.packed_versions import located
        from components.training import pretraining

        return pretraining.take_lock(located(recipe, data=data, settings=settings), data_dir=data_dir)
    weights_dir = bases.weights(recipe, data_dir=data_dir, settings=settings)
    if isinstance(recipe, Preference):
        from components.training import alignment

        rows = preference_rows.read(recipe.rows, runs=settings.workspace.runs)
        return alignment.take_lock(recipe, rows, weights_dir=weights_dir)
    from components.training import finetuning

    return finetuning.take_lock(recipe, data_dir=data_dir, weights_dir=weights_dir)


def train(
    recipe: Pretrain | Finetune,
    *,
    data: DataRef,
    settings: Settings,
    watch: Watch = lambda _: None,
    force: bool = False,
) -> TrainingRun:
    """Train, or go on where an interrupted attempt stopped, or return what is finished. Here, or in as many workers as
    the settings say.

    Curves go to MLflow while it trains. One training at a time a device; a second one waits.

    Args:
        watch: called at every step.
        force: throw away what there is and train anew.

    Raises:
        TrainingError, AssetError, DataError: as the trainings do.
        RegistryUnavailable: MLflow does not answer.
    """
    lock = take_lock(recipe, data=data, settings=settings)
    run_dir = settings.workspace.runs / lock.key
    registry = Registry(addresses(settings).mlflow)
    with turn(recipe, settings=settings):
        if force:
            shutil.rmtree(run_dir, ignore_errors=True)
        if done := _finished(run_dir, lock):
            log.info("it is trained already: %s", done.model_dir)
            return done
        run = registry.start_run(
            registered_model(recipe),
            name=recipe.name,
            params=recipe.model_dump(mode="json"),
            tags={"banyan.lock_key": lock.key, "banyan.data_version": data.version},
            key=lock.key,
        )
        with _failed_when_it_fails(run):
            if lock.dirty:
                run.text(locks.uncommitted(), CODE_DIFFERENCE)
            if isinstance(recipe, Preference):
                run.text(preference_rows.text_of(recipe.rows, runs=settings.workspace.runs), preference_rows.FILE)
            cpu_before, num_workers = _cpu_seconds(), settings.workers
            with Meter(
                device=lock.device,
                num_threads=lock.threads * num_workers,
                num_boards=num_workers,
                is_here=num_workers == 1 or not settings.ray_address,
            ) as meter:
                trained = _train(recipe, data=data, run_dir=run_dir, settings=settings, run=run, watch=watch)
            cpu_seconds = _cpu_seconds() - cpu_before
            energy = meter.energy(seconds=trained.seconds)
            planned = plan.settle(lock.key, trained, settings.workspace)
            scaling.keep(scaling.point(recipe, trained, workers=settings.workers), settings.workspace.runs)
            utilisation = _utilisation(recipe, trained, settings=settings)
            took = {"seconds": trained.seconds, "energy_joules": energy.joules}
            took |= {"flops": trained.flops, "utilisation": utilisation, "num_tokens": float(trained.num_tokens)}
            run.log({**took, **planned, **trained.metrics}, step=trained.num_steps)
            run.flush()
            run.text(json.dumps(trained.losses), LOSSES)
    _record_cost(
        run.run_id, registered_model(recipe), trained, energy=energy, cpu_seconds=cpu_seconds, settings=settings
    )
    finished = TrainingRun(
        model=registered_model(recipe),
        run_id=run.run_id,
        run_dir=run_dir,
        weights_sha256=trained.weights_sha256,
        lock=trained.lock.as_dict(),
        metrics=trained.metrics,
        num_steps=trained.num_steps,
        seconds=trained.seconds,
        sample=trained.sample,
        flops=trained.flops,
        utilisation=utilisation,
        energy_joules=energy.joules,
        energy_source=energy.source,
    )
    (run_dir / RUN_FILE).write_text(finished.model_dump_json(indent=1), "utf-8")
    return finished


def turn(recipe: Pretrain | Finetune, *, settings: Settings) -> AbstractContextManager[None]:
    """Holds what the recipe trains on here; workers on a Ray cluster get their devices from Ray."""
    num_devices = 1 if settings.ray_address else settings.workers
    return alone_on(resolve(recipe.device).type, workspace=settings.workspace, num_devices=num_devices)


def _finished(run_dir: Path, lock: Lock) -> TrainingRun | None:
    """What an earlier call finished under this very lock, if it is whole."""
    if load(run_dir, lock) is None:
        return None
    try:
        return TrainingRun.model_validate_json((run_dir / RUN_FILE).read_text("utf-8"))
    except (OSError, ValidationError):  # it was killed between the model and this
        return None


def _train(
    recipe: Pretrain | Finetune, *, data: DataRef, run_dir: Path, settings: Settings, run: RunLog, watch: Watch
) -> Trained:
    said = [time.monotonic()]

    def on_step(progress: Progress) -> None:
        curve = {"loss": progress.loss, "learning_rate": progress.learning_rate}
        run.log(curve | {"tokens_per_second": progress.tokens_per_second}, step=progress.step)
        if time.monotonic() - said[0] >= 5 or progress.step in (1, progress.num_steps):
            said[0] = time.monotonic()
            log.info("step %d of %d: loss %.3f", progress.step, progress.num_steps, progress.loss)
        watch(progress)

    def on_evaluate(evaluation: Evaluation) -> None:
        run.log(evaluation.metrics, step=evaluation.step)
        figures = ", ".join(f"{name} {value:.3f}" for name, value in evaluation.metrics.items())
        log.info("after step %d: %s%s", evaluation.step, figures, f"\n{evaluation.sample}" if evaluation.sample else "")
        if evaluation.sample:
            with contextlib.suppress(BanyanError):  # a sample that is not kept is no reason to stop
                run.text(evaluation.sample, f"samples/step-{evaluation.step:06d}.txt")

    return train_alone(recipe, data=data, run_dir=run_dir, settings=settings, on_step=on_step, on_evaluate=on_evaluate)


def train_alone(
    recipe: Pretrain | Finetune,
    *,
    data: DataRef,
    run_dir: Path,
    settings: Settings,
    on_step: Watch | None = None,
    on_evaluate: Callable[[Evaluation], None] | None = None,
) -> Trained:
    """The training without its run: nothing in MLflow, no cost in the ledger, no turn waited for.

    Raises:
        TrainingError, AssetError, DataError: as the trainings do.
    """
    data_dir = versioning.path_of(data, settings)
    if isinstance(recipe, Pretrain):
        from components.data.packed_versions import located

        recipe = located(recipe, data=data, settings=settings)
    if started := launch.launch_of(recipe, settings=settings):
        weights_dir = None
        if isinstance(recipe, Finetune):
            weights_dir = bases.weights(recipe, data_dir=data_dir, settings=settings)
        return launch.train(
            recipe,
            started,
            data_dir=data_dir,
            weights_dir=weights_dir,
            run_dir=run_dir,
            on_step=on_step,
            on_evaluate=on_evaluate,
        )
    if isinstance(recipe, Pretrain):
        from components.training.pretraining import pretrain

        return pretrain(recipe, data_dir=data_dir, run_dir=run_dir, on_step=on_step, on_evaluate=on_evaluate)
    weights_dir = bases.weights(recipe, data_dir=data_dir, settings=settings)
    if isinstance(recipe, Preference):
        from components.training.alignment import align

        rows = preference_rows.read(recipe.rows, runs=settings.workspace.runs)
        return align(recipe, rows, weights_dir=weights_dir, run_dir=run_dir, on_step=on_step)
    from components.training.finetuning import finetune

    return finetune(
        recipe,
        data_dir=data_dir,
        weights_dir=weights_dir,
        run_dir=run_dir,
        on_step=on_step,
        on_evaluate=on_evaluate,
    )


def _utilisation(recipe: Pretrain | Finetune, trained: Trained, *, settings: Settings) -> float:
    """Model flops utilisation (Chowdhery et al. 2022, arXiv 2204.02311, appendix B), against this machine's own best
    rather than a data sheet, which a CPU has not; of several GPUs, against all that were used."""
    device = resolve(recipe.device)
    peak = hardware.known_matmul_flops(device, recipe.precision, file=hardware.peaks(settings.workspace.runs))
    return trained.flops_per_second / (peak * (settings.workers if device.type == "cuda" else 1))


def _cpu_seconds() -> float:
    """Of this process, and of workers that have ended."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


@contextlib.contextmanager
def _failed_when_it_fails(run: RunLog) -> Iterator[None]:
    """A terminal error ends the run in MLflow as FAILED; a transient one, or a kill, leaves it to the next attempt."""
    try:
        yield
    except Exception as err:
        if not isinstance(err, Transient):
            with contextlib.suppress(BanyanError):
                run.end("FAILED")
        raise


def _record_cost(
    run_id: str, model: str, trained: Trained, *, energy: Energy, cpu_seconds: float, settings: Settings
) -> None:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    with Ledger(settings) as ledger:
        ledger.record_cost(
            run_id,
            "train",
            subject_name=model,
            device=trained.lock.device,
            seconds=trained.seconds,
            cpu_seconds=cpu_seconds,
            num_tokens=trained.num_tokens,
            energy_joules=energy.joules,
            energy_source=energy.source,
            peak_memory_bytes=usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        )

"""Which engines may serve a version: each is held against the trainer before the version is registered."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from components.data import versioning
from components.errors import ParityMismatch
from components.evaluation.parity import Parity, Reference, Verdicts, check
from components.recipes import Finetune
from components.refs import DataRef, ModelRef
from components.settings import Settings
from components.tasks import get_task
from components.training import bases
from components.training.run import TrainingRun

log = logging.getLogger(__name__)

PARITY_FILE = "parity.json"
"""Artifact of a version's run: its `Admission`."""


class Admission(BaseModel):
    """What every engine was held against, and what came of it."""

    model_config = ConfigDict(frozen=True)

    reference: Reference
    engines: dict[str, Parity]

    @property
    def tag(self) -> str:
        """The verdicts alone, as JSON: short enough for a version's tag."""
        return Verdicts(engines=self.engines).model_dump_json()


def admit(recipe: Finetune, *, run: TrainingRun, data: DataRef, settings: Settings) -> Admission:
    """The torch engine held against the trainer of the version that is to be; others are when they are to serve.

    Raises:
        ParityMismatch: it differs: nothing could serve the version, and what was measured of it is void.
        AssetError: the base's tokenizer cannot be had.
    """
    from components.evaluation.parity_reference import Trainer, reference
    from components.serving.engines import TorchEngine

    data_dir = versioning.path_of(data, settings)
    weights_dir = bases.weights(recipe, data_dir=data_dir, settings=settings)
    ref = ModelRef(name=run.model, version=0, run_id=run.run_id, weights_sha256=run.weights_sha256)
    with _threads_kept():
        expected = reference(recipe, model_dir=run.model_dir, weights_dir=weights_dir, data_dir=data_dir)
        engine = TorchEngine(ref, run.model_dir, task=recipe.task, warm=False)
        rescore = None
        if not engine.takes_given:
            trainer = Trainer(run.model_dir, task=get_task(recipe.task))
            rescore = lambda reads: trainer.read(reads, pad_id=0)  # noqa: E731
        found = check(engine, expected, rescore=rescore)
    if not found.passed:
        raise ParityMismatch(
            f"{run.model} answers otherwise than it was trained, {found}",
            f"its folder {_short(run.model_dir)} is not what was trained, or the task reads a row in two ways",
        )
    return Admission(reference=expected, engines={engine.name: found})


@contextlib.contextmanager
def _threads_kept() -> Iterator[None]:
    """An engine sets torch's threads to what serving wants; whoever trains on in this process wants its own."""
    import torch

    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _short(path: Path) -> str:
    return str(Path(*path.parts[-3:]))

"""Retrain a registered version from its lock and compare: the same bits, other bits, or no comparison here.

Needed are the stores alone: MLflow gives lock, recipe, losses and the pointer of the data, DVC's remote the data, the
assets the base weights. Nothing is written but a scratch folder.
"""

import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from components.data import tables
from components.data.manifests import Manifest, contents
from components.errors import NonFiniteLoss, VersionNotFound
from components.evaluation.candidate import RECIPE_TAG
from components.recipes import Finetune, Preference, Pretrain, parse_recipe
from components.refs import DataRef, ModelRef
from components.registry import Registry
from components.settings import Settings
from components.supervisor import addresses
from components.training import memory, preference_rows
from components.training import run as training
from components.training.lock import Difference, Lock, differences
from components.training.result import Progress

log = logging.getLogger(__name__)

SCRATCH = "verify"
"""The retraining's folder."""
MANIFEST = "data.json"
"""Artifact of a run: the manifest of the data version, its pointer for DVC included."""

Verdict = Literal["identical", "different", "not comparable"]
EXIT_CODES: dict[Verdict, int] = {"identical": 0, "different": 1, "not comparable": 3}


class Verification(BaseModel):
    """What came of retraining a version."""

    model_config = ConfigDict(frozen=True)

    model: ModelRef
    verdict: Verdict
    registered_sha256: str
    retrained_sha256: str | None = None
    """None: it was not trained to the end."""
    num_steps: int
    """Of the registered training."""
    parted_at_step: int | None = None
    """The first of 1 … num_steps whose loss is another."""
    registered_loss: float | None = None
    """Of that step, nats per target."""
    retrained_loss: float | None = None
    """None at a step that parted: it, or its gradient, is no number here."""
    environment: tuple[Difference, ...] = ()
    """In what this machine or this code differs from the registered training's: registered first."""
    division: dict[str, int] = {}
    """From which step on the registered training divided its micro-batches, into how many parts; so does this one."""
    data_from: Literal["workspace", "remote"] = "workspace"
    seconds: float = 0.0
    """Spent training."""
    remedy: str = ""

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.verdict]


class _Parted(Exception):
    """Ends a training whose loss is another: the weights will be, too."""

    def __init__(self, step: int, loss: float) -> None:
        self.step, self.loss = step, loss


def verify(
    model: ModelRef, *, settings: Settings, anyway: bool = False, watch: Callable[[Progress], None] | None = None
) -> Verification:
    """Retrain a version from its lock, on as many threads as it was, up to the first step whose loss is another.

    Args:
        anyway: train although the environment differs; equal bits then say that the difference does not matter.
        watch: called at every step.

    Raises:
        RegistryUnavailable, VersionNotFound: MLflow does not answer, or lacks what a comparison needs.
        RegistryError: the lock was changed, or is not whole.
        DataStoreError, AssetError, TrainingError: as pulling, fetching and training do.
    """
    registry = Registry(addresses(settings).mlflow)
    recipe, lock = recipe_of(registry, model), lock_of(registry, model)
    losses = tuple(json.loads(registry.artifact(model, training.LOSSES)))
    manifest = Manifest.model_validate_json(registry.artifact(model, MANIFEST))
    with (
        tempfile.TemporaryDirectory(prefix="banyan-verify-") as scratch,
        _threads(lock.threads * settings.workers),
        training.turn(recipe, settings=settings),
    ):
        apart = _apart(Path(scratch), settings)
        data_from = _bring(manifest, lock, settings=settings, apart=apart)
        if isinstance(recipe, Preference):
            text = registry.artifact(model, preference_rows.FILE).decode("utf-8")
            preference_rows.keep(text, runs=apart.workspace.runs)
        begun = training.take_lock(recipe, data=manifest.ref, settings=apart)
        now = replace(begun, division=lock.division)  # it is divided as the registered one was
        environment = tuple(one for one in differences(lock, now) if one.is_exact)
        explained = tuple(one for one in differences(lock, now) if one.is_exact or one.part.startswith("modules"))
        known = Verification(
            model=model,
            verdict="not comparable" if environment else "identical",
            registered_sha256=model.weights_sha256,
            num_steps=len(losses),
            environment=explained if environment else (),
            data_from=data_from,
            division=lock.division,
            remedy=remedy_of(lock, environment),
        )
        if environment and not anyway:
            return known
        key = begun.exact_key
        memory.impose(lock.division, run_dir=apart.workspace.runs / SCRATCH, key=key)
        return _retrain(known, recipe, losses, key=key, data=manifest.ref, settings=apart, watch=watch)


def recipe_of(registry: Registry, model: ModelRef) -> Pretrain | Finetune:
    """The recipe that a version was trained by.

    Raises:
        VersionNotFound: it was registered without one.
        RecipeError: this code does not know such a recipe.
    """
    tags = registry.get(model).tags
    if RECIPE_TAG not in tags:
        raise VersionNotFound(f"{model} was registered without its recipe", "train it again to have one that verifies")
    recipe: Pretrain | Finetune = parse_recipe(json.loads(tags[RECIPE_TAG]), origin=f"the recipe of {model}")
    return recipe


def lock_of(registry: Registry, model: ModelRef) -> Lock:
    """What a version was trained under, whole, or RegistryError."""
    return Lock.from_dict(registry.lock(model), origin=str(model))


def find(registry: Registry, model: str) -> ModelRef:
    """The version that `banyan-library@3` names; without a number the champion, or else the newest.

    Raises:
        VersionNotFound: there is no such model or version.
    """
    from components.registry import PREFIX, model_name

    name, _, version = model.partition("@")
    name = name if name.startswith(PREFIX) else model_name(name)
    if version:
        if not version.removeprefix("v").isdigit():
            raise VersionNotFound(f"{version!r} is no version's number", "for example: banyan verify library@3")
        return registry.ref(name, int(version.removeprefix("v")))
    if champion := registry.champion(name):
        return champion
    found = registry.versions(name)
    if not found:
        names = ", ".join(registry.names()) or "none"
        raise VersionNotFound(f"there is no model {name}", f"registered are: {names}")
    return found[0].ref


def remedy_of(lock: Lock, environment: Sequence[Difference]) -> str:
    """What to do so that a version can be compared here."""
    parts = {one.part.partition(".")[0] for one in environment}
    says = []
    if parts & {"code", "recipe"}:  # a recipe has another hash where the code gives it other fields
        if not lock.revision:
            says.append("it was trained by an installed copy: install that release of banyan-llm")
        elif lock.dirty:
            says.append(
                f"git checkout {lock.revision}, then git apply the run's artifact {training.CODE_DIFFERENCE} in the "
                "folder components (the code was not committed)"
            )
        else:
            says.append(f"git checkout {lock.revision} (or git worktree add ../{lock.revision[:12]} {lock.revision})")
    if "packages" in parts:
        wanted = " ".join(f"{name}=={version}" for name, version in lock.packages.items())
        says.append(f"in an environment of its own: pip install {wanted}")
    if parts & {"device", "isa"}:
        says.append(f"use a machine with {lock.device}, {lock.isa}")
    if parts & {"tables", "parent"}:
        says.append("the data or the base weights are not those of the lock: the stores were changed")
    if says:
        says.append("or retrain all the same: --anyway")
    return "; ".join(says)


# ---------------------------------------------------------------- parts


@contextmanager
def _threads(num_threads: int) -> Iterator[None]:
    """Sums are split by the number of threads, so the lock's is used, whatever this process had."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _apart(scratch: Path, settings: Settings) -> Settings:
    """The same stores, another workspace."""
    return settings.model_copy(
        update={
            "workspace_dir": scratch / "workspace",
            "assets_dir": settings.workspace.assets,
            "data_remote": settings.data_remote or str(settings.workspace.remote),
            "mlflow_url": addresses(settings).mlflow,  # where the base is a model of this installation
        }
    )


def _bring(manifest: Manifest, lock: Lock, *, settings: Settings, apart: Settings) -> Literal["workspace", "remote"]:
    """The data version into the workspace apart: that of this workspace if it is the lock's, else pulled later."""
    content, version = manifest.model_dump_json(), manifest.ref.version
    path = apart.workspace.data / "manifests" / f"{version}.json"
    path.parent.mkdir(parents=True)
    path.write_text(content, "utf-8")
    here = settings.workspace.data / "versions" / version
    if manifest.is_packed:
        hashes = contents(here) if here.is_dir() else {}
    else:
        hashes = {name: tables.table_sha256(here, name) for name in lock.tables if (here / name).is_dir()}
    rows_apart = {name for name in lock.tables if " " in name}  # of preferences, which are in no data version
    if hashes != {name: lock.tables[name] for name in lock.tables.keys() - rows_apart} or not here.is_dir():
        return "remote"
    there = apart.workspace.data / "versions" / version
    there.parent.mkdir()
    there.symlink_to(here)
    return "workspace"


def _retrain(
    known: Verification,
    recipe: Pretrain | Finetune,
    losses: Sequence[float],
    *,
    key: str,
    data: DataRef,
    settings: Settings,
    watch: Callable[[Progress], None] | None,
) -> Verification:
    run_dir, reached = settings.workspace.runs / SCRATCH, 0

    def on_step(progress: Progress) -> None:
        nonlocal reached
        reached = progress.step
        if watch:
            watch(progress)
        # A NaN ends a training before it gets here, so that equal bits are equal numbers.
        if progress.step > len(losses) or progress.loss != losses[progress.step - 1]:
            raise _Parted(progress.step, progress.loss)

    verdict: Verdict = "not comparable" if known.environment else "different"
    try:
        done = training.train_alone(recipe, data=data, run_dir=run_dir, settings=settings, on_step=on_step)
    except (_Parted, NonFiniteLoss) as err:  # the registered one had numbers to its end
        step, loss = (err.step, err.loss) if isinstance(err, _Parted) else (reached + 1, None)
        then = losses[step - 1] if step <= len(losses) else None
        found = {"parted_at_step": step, "registered_loss": then, "retrained_loss": loss}
        known = known.model_copy(update={"verdict": verdict, **found})
        return _divided_further(known, memory.found(run_dir=run_dir, key=key))
    finally:
        shutil.rmtree(run_dir / memory.CHECKPOINTS, ignore_errors=True)
    same = done.weights_sha256 == known.registered_sha256
    trained = {"retrained_sha256": done.weights_sha256, "seconds": done.seconds}
    known = known.model_copy(update={"verdict": "identical" if same else verdict, **trained})
    return known if same else _divided_further(known, done.lock.division)


def _divided_further(known: Verification, here: Mapping[str, int]) -> Verification:
    """Not comparable where less memory was free here than then, so that more steps were divided."""
    further = [(at, n) for at, n in here.items() if known.division.get(at) != n]
    if not further:
        return known
    apart = [
        Difference(f"division.{at}", str(known.division.get(at, "none")), str(n), is_exact=True) for at, n in further
    ]
    remedy = "a batch that fitted the device's memory then does not now: free it, or use a device with as much"
    found = {"environment": (*known.environment, *apart), "remedy": "; ".join(filter(None, (known.remedy, remedy)))}
    return known.model_copy(update={"verdict": "not comparable", **found})

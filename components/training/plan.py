"""What a training will need, before it is run: from a few real steps measured here, and from data sheets elsewhere."""

import json
import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from components.errors import RecipeError
from components.recipes import Finetune, Pretrain
from components.refs import DataRef
from components.settings import Settings, Workspace
from components.training import hardware, scaling
from components.training.flops import flops_of
from components.training.probe import NUM_PROBED_STEPS, Probe
from components.training.scaling import Forecast

if TYPE_CHECKING:
    import torch

    from components.training.result import Trained

LONGEST_CPU_HOURS = 12.0
"""A training that would take longer on this machine's CPU is one for a GPU, where there is one."""
PRICE_A_KWH = 0.25
"""Assumed where nothing is said, in whatever currency."""


class Memory(BaseModel):
    """Bytes at the fullest moment of a step."""

    model_config = ConfigDict(frozen=True)

    weights: int
    gradients: int
    optimizer: int
    activations: int
    """What the forward pass of one micro-batch keeps for the backward one, measured."""

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.activations


class Place(BaseModel):
    """A training on one machine."""

    model_config = ConfigDict(frozen=True)

    name: str
    seconds: float
    kwh: float
    cost: float
    utilisation: float
    """Share of the machine's peak: measured here, assumed elsewhere."""
    fits: bool
    """Whether its memory holds it."""
    is_extrapolated: bool
    """Never measured: a data sheet's peak at an assumed utilisation."""
    source: str


class Plan(BaseModel):
    """What a training needs. Times include evaluations and checkpoints; `setup_seconds` comes on top."""

    model_config = ConfigDict(frozen=True)

    name: str
    lock_key: str
    recipe_sha256: str = ""
    """Of the recipe alone, whatever the data; empty in plans of before."""
    num_parameters: int
    num_trainable: int
    num_steps: int
    """At most: patience may end it earlier. Of an ensemble, of all members."""
    num_tokens: int
    """Targets and padding alike are computed; padding is not counted here."""
    flops: float
    """6 N D with N without embeddings (Kaplan et al. 2020, arXiv 2001.08361; 4 N D, and 2 N D of what is trained, where
    the rest is frozen), and attention's products, 12 × layers × width × length a token (Chowdhery et al. 2022, arXiv
    2204.02311, appendix B)."""
    flops_of_attention: float
    """Of these; 0 where there is none."""
    flops_counted: float
    """The same by counting every product of one step as it ran, padding too; 0: such kernels are not counted."""
    memory: Memory
    setup_seconds: float
    price_a_kwh: float
    here: Place
    gpus: tuple[Place, ...]
    forecast: Forecast = Forecast()
    """By the laws of this installation's own runs."""
    actual_seconds: float | None = None
    """Known once it has been trained; so are the next two."""
    actual_flops: float | None = None
    actual_loss: float | None = None
    """Held-out bits a byte, where the recipe has them."""


def plan(
    recipe: Pretrain | Finetune,
    *,
    data: DataRef,
    settings: Settings,
    price_a_kwh: float = PRICE_A_KWH,
) -> Plan:
    """Runs a few steps in a scratch folder and says what the whole would take; kept, to be compared with what it took.
    Of an ensemble they are its first member's, and the whole is so many times as much.

    Raises:
        TrainingError, AssetError, DataError, RecipeError: as the training would, only sooner.
        RecipeError: the settings ask for several workers.
    """
    import torch

    from components.training import ensembles
    from components.training import run as training
    from components.training.device import resolve

    if settings.workers > 1:
        raise RecipeError(
            f"{recipe.name}: a plan is measured in one process, and BANYAN_WORKERS is {settings.workers}",
            f"plan with BANYAN_WORKERS=1: {settings.workers} workers need at best 1/{settings.workers} of its time",
        )
    lock = training.take_lock(recipe, data=data, settings=settings)
    probe = Probe()
    one, num_members = ensembles.first_member(recipe)
    short = one.model_copy(
        update={"num_steps": NUM_PROBED_STEPS, "num_epochs": None, "checkpoint_every_steps": 2, "warmup_share": 0.0}
        | {"evaluate_every_steps": NUM_PROBED_STEPS}
    )
    with tempfile.TemporaryDirectory(prefix="banyan-plan-") as scratch, probe:
        probe.run_dir = Path(scratch)
        done = training.train_alone(
            short,
            data=data,
            run_dir=probe.run_dir,
            settings=settings,
            on_step=probe.on_step,
            on_evaluate=probe.on_evaluate,
        )
    sizes, steps_each = probe.sizes(), recipe.steps_over(int(done.metrics["num_rows"]))
    num_steps = num_members * steps_each
    tokens = probe.tokens_a_step * num_steps
    flops, attention = flops_of(sizes, num_tokens=tokens, length=recipe.max_length_tokens)
    device = resolve(recipe.device)
    num_evaluations = num_members * math.ceil(steps_each / recipe.evaluate_every_steps)
    num_checkpoints = num_members * ((steps_each - 1) // recipe.checkpoint_every_steps)
    seconds = (
        num_steps * probe.step_seconds
        + num_evaluations * probe.evaluation_seconds
        + num_checkpoints * probe.checkpoint_seconds
    )
    memory = Memory(
        weights=sizes.weight_bytes,
        gradients=sizes.gradient_bytes,
        optimizer=probe.optimizer_bytes,
        activations=probe.activation_bytes,
    )
    peak = hardware.known_matmul_flops(device, recipe.precision, file=hardware.peaks(settings.workspace.runs))
    here = _place(
        str(torch.cuda.get_device_name(device)) if device.type == "cuda" else f"this machine's {device.type}",
        seconds=seconds,
        watts=hardware.watts(
            device=str(torch.cuda.get_device_name(device)) if device.type == "cuda" else device.type,
            num_threads=torch.get_num_threads(),
            memory_gb=memory.total / 1e9,
        ),
        price=price_a_kwh,
        utilisation=flops / num_steps / probe.step_seconds / peak,
        fits=memory.total / 1e9 < _memory_gb(device),
        source=f"{NUM_PROBED_STEPS} steps measured; energy estimated: {hardware.WATTS_A_CPU_CORE:.0f} W a busy core",
    )
    runs, workers = settings.workspace.runs, settings.workers
    forecast = scaling.forecast(recipe, lock, flops=flops, num_tokens=tokens, runs=runs, workers=workers)
    found = Plan(
        name=recipe.name,
        lock_key=lock.key,
        recipe_sha256=recipe.sha256(),
        num_parameters=sizes.num_parameters,
        num_trainable=sizes.num_trainable,
        num_steps=num_steps,
        num_tokens=round(tokens),
        flops=flops,
        flops_of_attention=attention,
        flops_counted=probe.flops_of_step * num_steps,
        memory=memory,
        setup_seconds=probe.setup_seconds,
        price_a_kwh=price_a_kwh,
        here=here,
        gpus=tuple(on_gpu(gpu, flops=flops, memory=memory, price_a_kwh=price_a_kwh) for gpu in hardware.GPUS),
        forecast=forecast,
    )
    _write(found, settings.workspace)
    return found


def on_gpu(gpu: hardware.Gpu, *, flops: float, memory: Memory, price_a_kwh: float) -> Place:
    """Extrapolated: never measured."""
    return _place(
        gpu.name,
        seconds=flops / (gpu.peak_flops * hardware.ASSUMED_UTILISATION),
        watts=gpu.watts,
        price=price_a_kwh,
        utilisation=hardware.ASSUMED_UTILISATION,
        fits=memory.total / 1e9 < gpu.memory_gb,
        source=f"{gpu.source}: {gpu.peak_flops / 1e12:.0f} Tflop/s, {gpu.memory_gb:.0f} GB, {gpu.watts:.0f} W",
        is_extrapolated=True,
    )


# ---------------------------------------------------------------- plan and actual


def kept(key: str, workspace: Workspace) -> Plan | None:
    """The plan of a training, with what became of it; None if nobody made one."""
    try:
        return Plan.model_validate_json(_path(key, workspace).read_text("utf-8"))
    except (OSError, ValueError):
        return None


def newest(recipe: Pretrain | Finetune, workspace: Workspace) -> Plan | None:
    """The newest plan of this very recipe, on whichever data; None if nobody made one."""
    files = {path: path.stat().st_mtime for path in _path("x", workspace).parent.glob("*.json")}
    for path in sorted(files, key=lambda one: -files[one]):
        found = kept(path.stem, workspace)
        if found is not None and found.recipe_sha256 == recipe.sha256():
            return found
    return None


def too_much_for_cpu(found: Plan) -> str:
    """Why a training is none for the CPU that its plan was made on; empty where it is, or it was not made on one."""
    if not found.here.name.endswith("cpu"):
        return ""
    if not found.here.fits:
        return f"by its plan {found.name} needs {found.memory.total / 1e9:.1f} GB, more than this machine has"
    hours = found.here.seconds / 3600
    if hours > LONGEST_CPU_HOURS:
        return f"by its plan {found.name} takes {hours:.0f} hours on this CPU, more than {LONGEST_CPU_HOURS:.0f}"
    return ""


def settle(key: str, trained: "Trained", workspace: Workspace) -> dict[str, float]:
    """Notes what a training took, and reached, beside its plan; both as metrics, none if there was no plan."""
    found = kept(key, workspace)
    if found is None:
        return {}
    loss = trained.metrics.get(scaling.LOSS)
    actual = {"actual_seconds": trained.seconds, "actual_flops": trained.flops, "actual_loss": loss}
    _write(found.model_copy(update=actual), workspace)
    told = {"plan_seconds": found.here.seconds, "plan_flops": found.flops, "plan_loss": found.forecast.loss}
    return {name: value for name, value in (told | actual).items() if value is not None}


def _path(key: str, workspace: Workspace) -> Path:
    return workspace.runs / "plans" / f"{key}.json"


def _write(found: Plan, workspace: Workspace) -> None:
    path = _path(found.lock_key, workspace)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".tmp")
    beside.write_text(found.model_dump_json(indent=1), "utf-8")
    beside.replace(path)


def _place(
    name: str,
    *,
    seconds: float,
    watts: float,
    price: float,
    utilisation: float,
    fits: bool,
    source: str,
    is_extrapolated: bool = False,
) -> Place:
    kwh = watts * seconds / 3.6e6
    return Place(
        name=name,
        seconds=seconds,
        kwh=kwh,
        cost=kwh * price,
        utilisation=utilisation,
        fits=fits,
        is_extrapolated=is_extrapolated,
        source=source,
    )


def _memory_gb(device: "torch.device") -> float:
    import torch

    if device.type == "cuda":
        return float(torch.cuda.get_device_properties(device).total_memory) / 1e9
    return hardware.memory_gb()


def summary(found: Plan) -> dict[str, Any]:
    """For a machine to read."""
    content: dict[str, Any] = json.loads(found.model_dump_json())
    return content | {"memory_bytes": found.memory.total}

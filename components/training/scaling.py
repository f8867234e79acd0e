"""What an installation's own runs say of the next one: held-out loss and time against compute.

L(C) = E + A C^−α, the loss of trainings that grow by one rule (Kaplan et al. 2020, arXiv 2001.08361, equation 1.3, with
the floor E of Hoffmann et al. 2022, arXiv 2203.15556); time is a power of compute too. A law comes with its error on
runs that were left out of its fit.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from components.recipes import Finetune, Pretrain
from components.training.lock import Lock

if TYPE_CHECKING:
    from components.training.result import Trained

MIN_RUNS = 12
MIN_DECADES = 2.0
"""Below these there is no law: three numbers fit anything."""
LOSS = "bits_per_byte"
"""Comparable between tokenizers, where nats a token are not."""
_FLOORS = 400
"""How many values of E are tried, from nothing to just below the lowest loss."""


class Point(BaseModel):
    """A finished training, as the laws see it."""

    model_config = ConfigDict(frozen=True)

    name: str
    lock_key: str
    group: str
    """Losses are compared within it: family, objective, and the tables' content."""
    shape: str
    """What else moves the loss: the tokenizer, a row's length, the optimizer."""
    machine: str
    """Times are compared within it: device, threads, workers, precision."""
    num_tokens: int
    flops: float
    seconds: float
    """Training, evaluations and checkpoints, over all attempts."""
    loss: float | None
    """Held-out bits a byte; None where the recipe has none."""


class Law(BaseModel):
    """y = floor + scale × C^exponent, with what is needed to judge it."""

    model_config = ConfigDict(frozen=True)

    of: str
    floor: float
    scale: float
    exponent: float
    """Per factor of compute; of loss it is negative."""
    num_runs: int
    smallest_flops: float
    largest_flops: float
    left_out_error: float
    """Median over all runs of |predicted / actual − 1|, each run predicted by the others."""
    left_out_error_worst: float
    last_error: float
    """Predicted / actual − 1 of the largest run, by the smaller ones: what a plan asks of a law."""
    shapes: tuple[str, ...] = ()
    tokens_a_parameter: tuple[float, float] = (0.0, 0.0)
    """Fewest and most: `tokens_a_parameter` of the runs."""

    @property
    def decades(self) -> float:
        return math.log10(self.largest_flops / self.smallest_flops)

    def at(self, flops: float) -> float:
        return _value((self.floor, self.scale, self.exponent), flops)

    def covers(self, flops: float) -> bool:
        """Whether so much compute lies between the runs' smallest and largest."""
        return self.smallest_flops <= flops <= self.largest_flops


class Forecast(BaseModel):
    """What the laws say of a training; or why there is none."""

    model_config = ConfigDict(frozen=True)

    loss: float | None = None
    """Held-out bits a byte."""
    loss_law: Law | None = None
    why_no_loss: str = ""
    seconds: float | None = None
    seconds_law: Law | None = None
    why_no_seconds: str = ""
    caveats: tuple[str, ...] = ()
    """In what the training is unlike the runs: beyond their compute, another tokenizer …"""


def point(recipe: Pretrain | Finetune, trained: "Trained", *, workers: int) -> Point:
    """What the laws are to know of a finished training."""
    group, shape, machine = places(recipe, trained.lock, workers=workers)
    return Point(
        name=recipe.name,
        lock_key=trained.lock.key,
        group=group,
        shape=shape,
        machine=machine,
        num_tokens=trained.num_tokens,
        flops=trained.flops,
        seconds=trained.seconds,
        loss=trained.metrics.get(LOSS),
    )


def places(recipe: Pretrain | Finetune, lock: Lock, *, workers: int) -> tuple[str, str, str]:
    """With whose losses, at what shape, and with whose times a training is compared."""
    data = ",".join(f"{name} {sha256[:16]}" for name, sha256 in sorted(lock.tables.items()))
    machine = f"{lock.device}, {lock.threads} threads, {workers} workers, {recipe.precision}"
    rule = f"rows of {recipe.max_length_tokens} tokens, {recipe.optimizer}"
    if isinstance(recipe, Pretrain):
        tokens = "own tokens" if recipe.packed else f"{recipe.vocab_size} {recipe.tokenizer} tokens"
        return f"{recipe.family}, {recipe.objective or ''}, {data}", f"{tokens}, {rule}", machine
    return f"{recipe.task}, {recipe.base}, {recipe.adaptation}, {data}", rule, machine


def keep(found: Point, runs: Path) -> None:
    """Note a run; the same training again replaces it."""
    folder = runs / "points"
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / f".{found.lock_key}"
    beside.write_text(found.model_dump_json(indent=1), "utf-8")
    beside.replace(folder / f"{found.lock_key}.json")


def kept(runs: Path) -> list[Point]:
    """All that were noted, the least compute first."""
    found = []
    for path in (runs / "points").glob("*.json"):
        try:
            found.append(Point.model_validate_json(path.read_text("utf-8")))
        except (OSError, ValidationError):  # of another version
            continue
    return sorted((one for one in found if one.flops > 0), key=lambda one: (one.flops, one.lock_key))


def tokens_a_parameter(num_tokens: float, flops: float) -> float:
    """By 6 N D, N being flops over six tokens: attention is in N."""
    return 6 * num_tokens**2 / flops


def forecast(
    recipe: Pretrain | Finetune, lock: Lock, *, flops: float, num_tokens: float, runs: Path, workers: int
) -> Forecast:
    """What the installation's own runs say of a training of so many operations.

    Losses are of runs of the same family on the same tables; times, of all runs on the same device.
    """
    group, shape, machine = places(recipe, lock, workers=workers)
    known = kept(runs)
    alike = [one for one in known if one.group == group and one.loss is not None]
    loss_law, why_no_loss = law(
        _by_one_rule(alike, shape), "held-out bits a byte", lambda one: one.loss or 0.0, has_floor=True
    )
    here = [one for one in known if one.machine == machine]
    seconds_law, why_no_seconds = law(here, "seconds", lambda one: one.seconds, has_floor=False)
    caveats = []
    if loss_law:
        if not loss_law.covers(flops):
            caveats.append(
                f"extrapolated: {flops:.1e} operations are outside the runs' {loss_law.smallest_flops:.1e} to "
                f"{loss_law.largest_flops:.1e}"
            )
        ratio, (fewest, most) = tokens_a_parameter(num_tokens, flops), loss_law.tokens_a_parameter
        if not fewest / 3 <= ratio <= 3 * most:
            caveats.append(
                f"not for it: {ratio:.2g} tokens a parameter, and the runs had {fewest:.2g} to {most:.2g}; a model of "
                f"another size for its compute loses more"
            )
        if shape not in loss_law.shapes:
            caveats.append(f"the runs had {' or '.join(loss_law.shapes)}, this one {shape}")
    return Forecast(
        loss=loss_law.at(flops) if loss_law else None,
        loss_law=loss_law,
        why_no_loss=why_no_loss,
        seconds=seconds_law.at(flops) if seconds_law else None,
        seconds_law=seconds_law,
        why_no_seconds=why_no_seconds,
        caveats=tuple(caveats),
    )


def _by_one_rule(points: Sequence[Point], shape: str) -> list[Point]:
    """Those that grew by one rule: of this shape if there are enough, else of the commonest; as long for their size, to
    a factor of three, as the one in the middle. A run longer or larger than its compute asks for is on no line."""
    shapes = [one.shape for one in points]
    chosen = shape if shapes.count(shape) >= MIN_RUNS else max(sorted(set(shapes)), key=shapes.count, default=shape)
    found = [one for one in points if one.shape == chosen]
    ratios = sorted(tokens_a_parameter(one.num_tokens, one.flops) for one in found)
    middle = ratios[len(ratios) // 2] if ratios else 1.0
    return [one for one in found if 1 / 3 <= tokens_a_parameter(one.num_tokens, one.flops) / middle <= 3]


def law(
    points: Sequence[Point], of: str, value: Callable[[Point], float], *, has_floor: bool
) -> tuple[Law | None, str]:
    """The law of a value against compute; or None, and why there is none."""
    points = sorted(points, key=lambda one: one.flops)
    if len(points) < MIN_RUNS:
        return None, f"no law of {of}: {len(points)} runs that compare, and at least {MIN_RUNS} are needed"
    spread = math.log10(points[-1].flops / points[0].flops)
    if spread < MIN_DECADES - 1e-9:
        return (
            None,
            f"no law of {of}: the runs are {spread:.1f} decades of compute apart, and {MIN_DECADES:g} are needed",
        )
    pairs = [(one.flops, value(one)) for one in points]
    errors = []
    for i, (flops, actual) in enumerate(pairs):
        rest = pairs[:i] + pairs[i + 1 :]
        errors.append(_value(_fitted(rest, has_floor=has_floor), flops) / actual - 1)
    floor, scale, exponent = _fitted(pairs, has_floor=has_floor)
    if has_floor and exponent >= 0:
        return None, f"no law of {of}: it does not fall with compute over these {len(points)} runs"
    sizes, ratios = sorted(map(abs, errors)), [tokens_a_parameter(one.num_tokens, one.flops) for one in points]
    middle = len(sizes) // 2
    return Law(
        of=of,
        floor=floor,
        scale=scale,
        exponent=exponent,
        num_runs=len(points),
        smallest_flops=points[0].flops,
        largest_flops=points[-1].flops,
        left_out_error=(sizes[middle] + sizes[-1 - middle]) / 2,
        left_out_error_worst=sizes[-1],
        last_error=errors[-1],
        shapes=tuple(sorted({one.shape for one in points})),
        tokens_a_parameter=(min(ratios), max(ratios)),
    ), ""


class _Fit(NamedTuple):
    floor: float
    scale: float
    exponent: float


def _fitted(pairs: Sequence[tuple[float, float]], *, has_floor: bool) -> _Fit:
    """Least squares of log y; for each floor of a grid a straight line through log (y − floor) against log C."""
    import numpy as np

    flops, values = np.array(pairs, np.float64).T
    x = np.log(flops)
    floors = np.linspace(0, values.min(), _FLOORS, endpoint=False) if has_floor else [0.0]
    best, least = _Fit(0.0, 1.0, 0.0), math.inf
    for floor in floors:
        slope, intercept = np.polyfit(x, np.log(values - floor), 1)
        missed = float(np.square(np.log(floor + np.exp(intercept + slope * x)) - np.log(values)).sum())
        if missed < least:
            best, least = _Fit(float(floor), float(np.exp(intercept)), float(slope)), missed
    return best


def _value(fit: tuple[float, float, float], flops: float) -> float:
    floor, scale, exponent = fit
    return floor + scale * flops**exponent

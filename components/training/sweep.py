"""Small trainings over decades of compute, so that an installation has runs to fit its scaling law to."""

import math
from collections.abc import Callable, Iterator

from components.errors import RecipeError
from components.models.families import FAMILIES
from components.recipes import Pretrain
from components.refs import DataRef
from components.registry import Registry
from components.settings import Settings
from components.supervisor import addresses
from components.training import run as training
from components.training import scaling
from components.training.flops import flops_of, sizes_of
from components.training.run import TrainingRun, Watch

WIDTHS = (16, 24, 32, 48, 64, 80, 96, 112, 128, 160, 192, 256, 320, 384, 512, 640, 768, 1024)
TOKENS_A_PARAMETER = 10.0
"""Of the parameters that a token is multiplied with. About half of what Hoffmann et al. 2022 found best: small models
are trained here, on small texts."""


def recipes(
    template: Pretrain, *, num_runs: int = scaling.MIN_RUNS, smallest_flops: float, decades: float = 2.1
) -> list[Pretrain]:
    """Trainings of the template's family and rows whose compute grows evenly: width and steps grow, all else stays.

    Raises:
        RecipeError: fewer runs, or less compute between them, than a law needs; or the widths end before the compute.
    """
    if num_runs < scaling.MIN_RUNS or decades < scaling.MIN_DECADES:
        raise RecipeError(
            f"{num_runs} runs over {decades:g} decades make no law",
            f"at least {scaling.MIN_RUNS} runs over {scaling.MIN_DECADES:g}",
        )
    shapes = list(_shapes(template))
    found = []
    for i in range(num_runs):
        flops = smallest_flops * 10 ** (decades * i / (num_runs - 1))

        def unlike(shape: tuple[int, float, int], flops: float = flops) -> float:
            _, a_token, parameters = shape
            return abs(math.log(flops / a_token / parameters / TOKENS_A_PARAMETER))

        best = min(shapes, key=unlike)
        if unlike(best) > math.log(3):
            raise RecipeError(
                f"no width from {WIDTHS[0]} to {WIDTHS[-1]} of {template.name} is for {flops:.1e} operations",
                "begin with another number of operations: --from-flops",
            )
        hidden_size, a_token, _ = best
        num_steps = max(1, round(flops / a_token / _tokens_a_step(template)))
        changes = {"name": f"{template.name}-{i + 1:02d}", "hidden_size": hidden_size, "num_heads": None}
        changes |= {"num_steps": num_steps, "num_epochs": None, "num_kv_heads": None}
        changes |= {"evaluate_every_steps": num_steps, "checkpoint_every_steps": max(100, num_steps // 4)}
        found.append(Pretrain.model_validate(template.model_dump() | changes))
    return found


def _tokens_a_step(recipe: Pretrain) -> int:
    return recipe.batch_size * recipe.num_accumulation_steps * recipe.max_length_tokens


def _shapes(template: Pretrain) -> Iterator[tuple[int, float, int]]:
    """Width, operations a token, parameters a token is multiplied with; of every width that the family can have."""
    import torch

    for width in WIDTHS:
        try:
            recipe = Pretrain.model_validate(
                template.model_dump() | {"hidden_size": width, "num_heads": None, "num_kv_heads": None}
            )
        except ValueError:  # not a multiple of its heads
            continue
        with torch.device("meta"):  # shapes without weights
            sizes = sizes_of(FAMILIES[recipe.family].build(recipe, recipe.vocab_size))
        yield width, flops_of(sizes, num_tokens=1, length=recipe.max_length_tokens)[0], sizes.num_multiplied


def train(
    asked: list[Pretrain],
    *,
    data: DataRef,
    settings: Settings,
    on_run: Callable[[int, TrainingRun], None] = lambda *_: None,
    watch: Watch = lambda _: None,
) -> None:
    """Train all of them, one after another, as runs of this installation; none is registered as a model.

    What is trained already is not trained again, and an interrupted sweep goes on.

    Raises:
        TrainingError, DataError: as the trainings do.
        RegistryUnavailable: MLflow does not answer.
    """
    registry = Registry(addresses(settings).mlflow)
    for number, recipe in enumerate(asked):
        done = training.train(recipe, data=data, settings=settings, watch=watch)
        registry.run(done.run_id).end()
        on_run(number, done)

"""Which work pool a training runs in: what its recipe says, else what its plan says that it needs."""

from typing import Literal, NamedTuple

from components.recipes import Finetune, Pretrain
from components.settings import Settings, load_settings
from flows import policies
from flows.remote import Prefect


class Place(NamedTuple):
    """A work pool, and why; empty where there is nothing to say."""

    pool: Literal["cpu", "gpu"]
    reason: str


def place_of(recipe: Pretrain | Finetune, *, settings: Settings) -> Place:
    """The pool of the recipe's `device`; of `auto` the pool `gpu`, where its plan (`banyan plan`) asks too much of the
    CPU and a worker serves that pool.

    Raises:
        ServiceDown: Prefect, which has to be asked for workers, does not answer.
    """
    from components.training import plan

    if recipe.device != "auto":
        return Place(policies.pool_of(recipe), "")
    found = plan.newest(recipe, settings.workspace)
    why = plan.too_much_for_cpu(found) if found else ""
    if not why:
        return Place("cpu", "")
    if Prefect(settings).is_served("gpu"):
        return Place("gpu", f"{why}: it goes to pool gpu")
    return Place("cpu", f"{why}; no worker serves pool gpu (banyan worker --pool gpu), so it runs on the CPU")


def deployment_of(recipe: Pretrain | Finetune) -> str:
    """The deployment that trains by the recipe, in its place; within a flow, whose log is told why."""
    from prefect.logging import get_run_logger

    place = place_of(recipe, settings=load_settings())
    if place.reason:
        get_run_logger().info("%s", place.reason)
    return f"{recipe.kind}/{place.pool}"

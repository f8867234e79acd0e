"""Which pool a training runs in: by its recipe's device, else by its plan, where a worker is there."""

import os

import pytest

from components.recipes import Pretrain
from components.settings import Settings
from components.training import plan as planning
from components.training.plan import Memory, Place, Plan
from flows import places

GB = 10**9


def recipe(**fields):
    return Pretrain(name="corpus", num_steps=20, batch_size=4, max_length_tokens=64, learning_rate=1e-2, **fields)


def planned(settings, given, *, hours=1.0, fits=True, here="this machine's cpu", key="k"):
    place = {"kwh": 1.0, "cost": 1.0, "utilisation": 0.3, "is_extrapolated": False, "source": "measured"}
    sizes = {"num_parameters": 1, "num_trainable": 1, "num_steps": 20, "num_tokens": 1, "flops": 1.0}
    found = Plan(
        name=given.name, lock_key=key, recipe_sha256=given.sha256(), **sizes, flops_of_attention=0.0, flops_counted=0.0,
        memory=Memory(weights=20 * GB, gradients=20 * GB, optimizer=40 * GB, activations=GB), setup_seconds=1.0,
        price_a_kwh=0.25, here=Place(name=here, seconds=3600 * hours, fits=fits, **place), gpus=(),
    )  # fmt: skip
    planning._write(found, settings.workspace)


@pytest.fixture
def settings(tmp_path):
    return Settings(BANYAN_WORKSPACE=tmp_path / "workspace")


@pytest.fixture
def workers(monkeypatch):
    """The pools that somebody serves."""
    served = {"cpu"}

    class Prefect:
        def __init__(self, _):
            pass

        def is_served(self, pool):
            return pool in served

    monkeypatch.setattr(places, "Prefect", Prefect)
    return served


@pytest.mark.parametrize(
    ("about", "why"),
    [({"fits": False}, "needs 81.0 GB, more than this machine has"), ({"hours": 30}, "takes 30 hours on this CPU")],
)
def test_what_asks_too_much_of_the_cpu_goes_to_a_gpu_worker_that_is_there(settings, workers, about, why):
    planned(settings, recipe(), **about)
    pool, reason = places.place_of(recipe(), settings=settings)
    assert (pool, why in reason, "banyan worker --pool gpu" in reason) == ("cpu", True, True)
    workers.add("gpu")
    pool, reason = places.place_of(recipe(), settings=settings)
    assert (pool, why in reason) == ("gpu", True)
    assert places.place_of(recipe(device="cpu"), settings=settings) == ("cpu", ""), "what a recipe says stands"


def test_what_fits_has_no_plan_or_was_planned_on_a_gpu_stays(settings, workers):
    workers.add("gpu")
    assert places.place_of(recipe(), settings=settings) == ("cpu", "")
    assert places.place_of(recipe(device="cuda"), settings=settings) == ("gpu", "")
    planned(settings, recipe(dropout=0.2), fits=False)
    assert places.place_of(recipe(), settings=settings) == ("cpu", ""), "that is another recipe's plan"
    planned(settings, recipe(), hours=11.0)
    assert places.place_of(recipe(), settings=settings) == ("cpu", "")
    planned(settings, recipe(), fits=False, here="NVIDIA A100")
    assert places.place_of(recipe(), settings=settings) == ("cpu", "")


def test_the_newest_plan_decides(settings, workers):

    workers.add("gpu")
    planned(settings, recipe(), fits=False, key="of-before")
    planned(settings, recipe(), key="of-now")
    os.utime(planning._path("of-before", settings.workspace), (1, 1))
    assert places.place_of(recipe(), settings=settings) == ("cpu", "")
    os.utime(planning._path("of-now", settings.workspace), (0, 0))
    assert places.place_of(recipe(), settings=settings).pool == "gpu"

"""Laws fitted to runs whose truth is known, and what is refused."""

import pytest

from components.errors import RecipeError
from components.models.families import FAMILIES
from components.recipes import Pretrain
from components.training import scaling, sweep
from components.training.flops import sizes_of
from components.training.lock import Lock
from components.training.scaling import Point


def recipe(**changes) -> Pretrain:
    given = {"name": "r", "num_steps": 10, "batch_size": 16, "max_length_tokens": 128, "vocab_size": 512}
    return Pretrain(
        **given | {"num_layers": 2, "hidden_size": 64, "optimizer": "muon", "learning_rate": 0.01} | changes
    )


def lock(**changes) -> Lock:
    given = {"tables": {"corpus": "t" * 64}, "recipe": "r", "parent": "", "code": "c", "seed": 0, "packages": {}}
    return Lock(**given | {"threads": 2, "device": "cpu", "isa": "x", "revision": "", "dirty": ""} | changes)


def points(num: int, decades: float, *, noise=lambda i: 1.0, **changes) -> list[Point]:
    """Runs of a world where a byte costs 1.2 + 300 C^−0.25 bits and 1e9 operations take 0.1 s."""
    group, shape, machine = scaling.places(recipe(), lock(), workers=1)
    found = []
    for i in range(num):
        flops = 1e10 * 10 ** (decades * i / (num - 1))
        known = {"group": group, "shape": shape, "machine": machine, "num_tokens": round((10 * flops / 6) ** 0.5)}
        loss, seconds = (1.2 + 300 * flops**-0.25) * noise(i), flops / 1e10
        one = Point(name=f"r{i}", lock_key=f"k{i}", flops=flops, loss=loss, seconds=seconds, **known)
        found.append(one.model_copy(update=changes))
    return found


def test_the_law_that_made_the_losses_is_found(tmp_path):
    for one in points(12, 2.0):
        scaling.keep(one, tmp_path)
    told = scaling.forecast(recipe(), lock(), flops=1e13, num_tokens=4e6, runs=tmp_path, workers=1)
    assert told.loss == pytest.approx(1.2 + 300 * 1e13**-0.25, rel=0.01), "a decade beyond the largest run"
    assert told.loss_law.exponent == pytest.approx(-0.25, abs=0.01)
    assert told.loss_law.left_out_error < 0.002
    assert told.seconds == pytest.approx(1e3, rel=0.01)
    assert told.caveats == ("extrapolated: 1.0e+13 operations are outside the runs' 1.0e+10 to 1.0e+12",)
    within = scaling.forecast(recipe(vocab_size=4096), lock(), flops=1e11, num_tokens=4e5, runs=tmp_path, workers=1)
    few = scaling.forecast(recipe(), lock(), flops=1e11, num_tokens=4e4, runs=tmp_path, workers=1)
    assert "0.096 tokens a parameter, and the runs had 10 to 10" in few.caveats[0]
    assert within.caveats == (
        "the runs had 512 bpe tokens, rows of 128 tokens, muon, this one 4096 bpe tokens, rows of 128 tokens, muon",
    )


def test_the_error_is_that_of_a_run_that_was_left_out():
    exact, _ = scaling.law(points(12, 2.0), "loss", lambda one: one.loss, has_floor=True)
    off = points(12, 2.0, noise=lambda i: 1.1 if i == 11 else 1.0)
    odd, _ = scaling.law(off, "loss", lambda one: one.loss, has_floor=True)
    assert odd.last_error == pytest.approx(1 / 1.1 - 1, abs=0.005), "the others know nothing of it"
    assert exact.last_error == pytest.approx(0, abs=0.002)
    assert odd.left_out_error_worst >= abs(odd.last_error)


@pytest.mark.parametrize(
    ("num", "decades", "why"),
    [(11, 3.0, "11 runs that compare, and at least 12"), (20, 1.8, "1.8 decades of compute apart, and 2 are needed")],
)
def test_too_few_runs_or_too_near_ones_give_no_law_but_a_reason(num, decades, why, tmp_path):
    for one in points(num, decades):
        scaling.keep(one, tmp_path)
    told = scaling.forecast(recipe(), lock(), flops=1e11, num_tokens=1e6, runs=tmp_path, workers=1)
    assert told.loss is None and told.seconds is None
    assert why in told.why_no_loss and why in told.why_no_seconds


def test_a_loss_that_does_not_fall_is_no_law():
    rising = [one.model_copy(update={"loss": 2 + 0.1 * i}) for i, one in enumerate(points(12, 2.0))]
    assert scaling.law(rising, "loss", lambda one: one.loss, has_floor=True) == (
        None,
        "no law of loss: it does not fall with compute over these 12 runs",
    )


def test_only_what_compares_is_compared(tmp_path):
    for one in points(12, 2.0):
        scaling.keep(one, tmp_path)
    (tmp_path / "points" / "of another version.json").write_text("{}")
    others = lock(tables={"corpus": "another"}), lock(device="cuda: NVIDIA L4")
    told = [scaling.forecast(recipe(), one, flops=1e11, num_tokens=1e6, runs=tmp_path, workers=1) for one in others]
    assert (told[0].loss, told[1].seconds) == (None, None), "another corpus; another machine"
    assert told[0].seconds and told[1].loss
    family = scaling.forecast(recipe(family="gpt2"), lock(), flops=1e11, num_tokens=1e6, runs=tmp_path, workers=1)
    assert family.loss is None and "0 runs that compare" in family.why_no_loss


def test_runs_beside_the_rule_do_not_bend_the_law(tmp_path):
    runs = points(12, 2.0)
    odd = runs[6].model_copy(update={"lock_key": "large for its compute", "num_tokens": 1000, "loss": 6.0})
    other = runs[3].model_copy(update={"lock_key": "another vocabulary", "shape": "other", "loss": 5.0})
    for one in [*runs, odd, other]:
        scaling.keep(one, tmp_path)
    told = scaling.forecast(recipe(), lock(), flops=1e11, num_tokens=4e5, runs=tmp_path, workers=1)
    assert told.loss_law.num_runs == 12
    assert told.loss_law.left_out_error < 0.002


def test_a_sweep_grows_evenly_over_its_decades():
    asked = sweep.recipes(recipe(), num_runs=12, smallest_flops=2e10, decades=2.1)
    assert len({one.sha256() for one in asked}) == 12
    flops = []
    for one in asked:
        a_token = sweep.flops_of(sizes_of(FAMILIES["gpt"].build(one, 512)), num_tokens=1, length=128)[0]
        flops.append(a_token * one.num_steps * 16 * 128)
    wanted = [2e10 * 10 ** (2.1 * i / 11) for i in range(12)]
    assert flops == pytest.approx(wanted, rel=0.05)
    assert asked[0].hidden_size < asked[-1].hidden_size and asked[0].num_steps < asked[-1].num_steps
    with pytest.raises(RecipeError, match="8 runs over 2 decades make no law"):
        sweep.recipes(recipe(), num_runs=8, smallest_flops=1e10, decades=2.0)
    with pytest.raises(RecipeError, match="no width from 16 to 1024"):
        sweep.recipes(recipe(), smallest_flops=1e4)

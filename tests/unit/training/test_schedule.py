import itertools

import pytest

from components.training.schedule import scale


def factors(schedule, warmup_share=0.1, num_steps=100, decay_share=None):
    given = {"num_steps": num_steps, "schedule": schedule, "warmup_share": warmup_share, "decay_share": decay_share}
    return [scale(step, **given) for step in range(num_steps)]


def test_warm_up_stable_decay_stays_at_its_height_and_falls_at_the_end():
    found = factors("wsd", decay_share=0.3)
    assert found[:10] == sorted(found[:10])
    assert set(found[10:70]) == {1.0}
    falls = [a - b for a, b in itertools.pairwise(found[69:])]
    assert min(falls) == pytest.approx(max(falls))
    assert found[-1] == pytest.approx(1 / 31)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_the_rate_rises_through_the_warmup_and_never_is_zero(schedule):
    found = factors(schedule)
    assert found[:10] == sorted(found[:10])
    assert max(found) == found[10] == 1.0
    assert min(found) > 0


def test_linear_falls_in_even_steps_and_cosine_is_half_in_the_middle():
    linear = factors("linear", warmup_share=0)
    assert linear[25] - linear[26] == pytest.approx(linear[80] - linear[81])
    assert linear[99] == pytest.approx(0.01)
    assert factors("cosine", warmup_share=0)[50] == pytest.approx(0.5)


def test_constant_stays():
    assert set(factors("constant", warmup_share=0)) == {1.0}


def test_one_step_is_a_full_one_without_warmup():
    assert factors("linear", warmup_share=0, num_steps=1) == [1.0]

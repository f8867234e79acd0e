import numpy as np
import pytest

from components.data.drift import lengths, names


def test_no_difference_is_no_drift_and_another_mix_is():
    same = names("label", ["a", "b"] * 200, ["a", "b"] * 300)
    assert (same.effect, same.certain) == (0, 0)
    other = names("label", ["a"] * 180 + ["b"] * 20, ["a"] * 20 + ["b"] * 180)
    assert other.certain == pytest.approx(0.8, abs=0.02)


def test_chance_in_few_rows_is_corrected_away_and_a_trifle_in_many_stays_small():
    draw = np.random.default_rng(0)
    effects = [names("x", *(draw.choice(list("abcdefgh"), 30) for _ in range(2))).certain for _ in range(200)]
    assert sum(effect > 0 for effect in effects) <= 6
    trifle = names("x", ["a"] * 50_000 + ["b"] * 50_000, ["a"] * 51_000 + ["b"] * 49_000)
    assert trifle.p_value < 0.001
    assert trifle.effect < 0.02


def test_the_length_has_an_effect_on_the_same_scale():
    draw = np.random.default_rng(0)
    one = draw.lognormal(3, 0.5, 500)
    assert lengths(one, draw.lognormal(3, 0.5, 500)).certain == 0
    assert lengths(one, draw.lognormal(3.25, 0.5, 500)).certain == pytest.approx(0.24, abs=0.06)
    assert lengths(one, draw.lognormal(4, 0.5, 500)).certain > 0.5
    assert lengths(np.array([5.0]), np.array([9.0])).effect == 0

"""The gate's statistics, against what is known of them."""

import numpy as np
import pandas as pd
import pytest

from components.errors import DataError
from components.evaluation.gate import Verdict, compare
from components.recipes import GatePolicy

QUICK = GatePolicy(num_resamples=2000)


def scores(values):
    return pd.DataFrame({"id": [f"{i:04x}" for i in range(len(values))], "score": np.asarray(values, float)})


def binary(n, wins, losses, both=0):
    """Challenger and champion over n examples, of which the challenger alone is right on `wins`."""
    a, b = np.zeros(n), np.zeros(n)
    a[:wins] = 1
    b[wins : wins + losses] = 1
    a[wins + losses : wins + losses + both] = b[wins + losses : wins + losses + both] = 1
    return scores(a), scores(b)


def test_a_clear_gain_is_promoted_with_its_interval():
    verdict = compare(*binary(1000, wins=130, losses=60, both=500), QUICK)
    assert verdict.verdict == "promote"
    assert verdict.difference == pytest.approx(0.07)
    assert 0 < verdict.low < 0.07 < verdict.high
    assert (verdict.num_wins, verdict.num_losses, verdict.num_examples) == (130, 60, 1000)
    assert verdict.num_more_needed is None
    # the normal interval of a paired difference, as a yardstick: ± 1.96 · sqrt((130 + 60)/1000 − 0.07²)/sqrt(1000)
    assert (verdict.high - verdict.low) / 2 == pytest.approx(0.0267, rel=0.1)


def test_a_clear_loss_is_rejected():
    verdict = compare(*binary(1000, wins=60, losses=130), QUICK)
    assert verdict.verdict == "reject"
    assert verdict.high < 0


def test_what_cannot_be_told_is_inconclusive_and_says_how_many_more_would_tell():
    verdict = compare(*binary(200, wins=30, losses=22), QUICK)
    assert verdict.verdict == "inconclusive"
    # (z₀.₉₇₅ + z₀.₈)² · var / d² = 7.849 · (0.26 − 0.04²) / 0.04² = 1,268 examples in all
    assert verdict.num_more_needed == pytest.approx(1268 - 200, abs=15)
    assert "more examples would decide" in verdict.reason


def test_five_wins_and_no_loss_are_not_enough_though_the_bootstrap_says_so():
    verdict = compare(*binary(1000, wins=5, losses=0), QUICK)
    assert verdict.low > 0
    assert verdict.p_value == pytest.approx(2 * 0.5**5, abs=0.02)
    assert verdict.verdict == "inconclusive"


def test_the_p_value_is_mcnemars_exact_one_for_right_and_wrong():
    from scipy.stats import binomtest

    verdict = compare(*binary(300, wins=21, losses=9), GatePolicy(num_resamples=50_000))
    assert verdict.p_value == pytest.approx(binomtest(21, 30).pvalue, abs=0.005)


def test_models_that_answer_alike_are_inconclusive_with_an_interval_as_wide_as_the_split_is_small():
    for n in (20, 1000):
        a, _ = binary(n, wins=0, losses=0, both=n // 2)
        verdict = compare(a, a, QUICK)
        assert verdict.verdict == "inconclusive"
        assert verdict.p_value == 1
        assert verdict.high == -verdict.low == pytest.approx(1 - 0.025 ** (1 / n))
        assert verdict.num_more_needed is None
        assert "cannot tell them apart" in verdict.reason


def test_better_on_every_single_example_is_promoted_from_enough_examples_on():
    assert compare(scores([1] * 100), scores([0] * 100), QUICK).verdict == "promote"
    two = compare(scores([1] * 2), scores([0] * 2), QUICK)
    assert two.verdict == "inconclusive"
    assert two.low < 0 < two.high


def test_one_example_decides_nothing():
    assert compare(scores([1.0]), scores([0.0]), QUICK).verdict == "inconclusive"


def test_a_gain_below_the_minimum_is_not_promoted():
    pair = binary(1000, wins=130, losses=60)
    assert compare(*pair, QUICK.model_copy(update={"minimum_difference": 0.06})).verdict == "inconclusive"
    assert compare(*pair, QUICK.model_copy(update={"minimum_difference": 0.12})).verdict == "reject"


def test_a_higher_level_asks_for_more():
    pair = binary(400, wins=40, losses=22)
    assert compare(*pair, QUICK).verdict == "promote"
    assert compare(*pair, QUICK.model_copy(update={"confidence_level": 0.999})).verdict == "inconclusive"


def test_more_power_wants_more_examples():
    pair = binary(200, wins=30, losses=22)
    modest, demanding = (compare(*pair, QUICK.model_copy(update={"power": power})) for power in (0.5, 0.95))
    assert modest.num_more_needed < demanding.num_more_needed


def test_graded_scores_are_compared_pair_by_pair():
    rng = np.random.default_rng(0)
    hard = rng.uniform(0, 0.8, 200)  # examples differ far more than the models do
    verdict = compare(scores(hard + 0.02 + rng.normal(0, 0.03, 200).clip(-0.02, 0.1)), scores(hard), QUICK)
    assert verdict.verdict == "promote"
    assert verdict.high - verdict.low < 0.02


def test_order_of_rows_and_a_repetition_change_nothing():
    a, b = binary(300, wins=30, losses=20)
    again = compare(a.sample(frac=1, random_state=1), b.sample(frac=1, random_state=2), QUICK)
    assert again == compare(a, b, QUICK)
    assert Verdict.model_validate_json(again.model_dump_json()) == again


def test_equal_models_are_seldom_promoted():
    """Of 150 comparisons without a difference at most 2.5 % may promote: 3.75 expected, 9 is 2.7 sigma."""
    rng = np.random.default_rng(1)
    policy = GatePolicy(num_resamples=1000)
    promoted = 0
    for _ in range(150):
        swap = rng.random(150) < 0.5
        differ = rng.random(150) < 0.15
        a = np.where(differ, swap, True)
        b = np.where(differ, ~swap, True)
        promoted += compare(scores(a), scores(b), policy).verdict == "promote"
    assert promoted <= 9


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda frame: frame.head(5), "different rows"),
        (lambda frame: pd.concat([frame, frame.head(1)]), "an id twice"),
        (lambda frame: frame.assign(score=np.nan), r"not all in \[0, 1\]"),
        (lambda frame: frame.assign(score=1.5), r"not all in \[0, 1\]"),
    ],
)
def test_scores_that_do_not_pair_are_refused(change, said):
    good = scores([0, 1, 0, 1, 1, 1, 0])
    for pair in ((change(good), good), (good, change(good))):
        with pytest.raises(DataError, match=said):
            compare(*pair, QUICK)


def test_nothing_to_compare_is_refused():
    with pytest.raises(DataError, match="empty"):
        compare(scores([]), scores([]), QUICK)

"""A stream of comparisons on one test set errs no more often than it says."""

import numpy as np
import pytest

from components.evaluation import spending
from components.evaluation.gate import compare
from components.recipes import GatePolicy
from tests.unit.evaluation.test_gate import binary, scores

POLICY = GatePolicy(num_resamples=1000)


def levels(outcomes: list[bool], policy: GatePolicy = POLICY) -> list[float]:
    return [spending.look(outcomes[:k], policy).level for k in range(len(outcomes) + 1)]


def test_the_first_look_pays_nothing():
    assert spending.look([], POLICY).confidence_level == pytest.approx(POLICY.confidence_level)


@pytest.mark.parametrize("max_looks", [1, 2, 7, 25, 200])
def test_a_stream_that_promotes_nothing_spends_what_there_is_and_no_more(max_looks):
    policy = POLICY.model_copy(update={"max_looks": max_looks})
    spent = levels([False] * (max_looks + 3), policy)
    assert sum(spent) <= 0.05 * (1 + 1e-9)
    assert sum(spent) == pytest.approx(0.05 if max_looks > 1 else 0.025)
    assert spent[max_looks:] == [0.0] * 4
    assert spent == sorted(spent, reverse=True)


def test_a_promotion_passes_its_level_on_and_no_look_is_bolder_than_the_first():
    after = levels([True, True, False])
    assert after[:3] == [pytest.approx(0.025)] * 3
    assert after[3] == pytest.approx(0.05 * spending.shares(25)[3])


def test_after_each_promotion_the_levels_of_the_unpromoted_blocks_add_up_to_no_more_than_the_stream_may():
    """What the proof rests on, for random truths: looks on what is better promote, the others do not."""
    draws = np.random.default_rng(0)
    for _ in range(200):
        is_better = (draws.random(25) < draws.random()).tolist()
        spent = levels(is_better)
        assert sum(level for level, better in zip(spent, is_better, strict=False) if not better) <= 0.05 * (1 + 1e-9)


def test_streams_of_no_better_challengers_promote_in_at_most_one_of_twenty():
    """Exactly as good, 12 looks: the stream's gate stays under 5 %, while 95 % each time errs in many more."""
    draws = np.random.default_rng(5)
    num_streams, of_stream, each_alone = 40, 0, 0
    for _ in range(num_streams):
        flips = draws.choice([1, 0, -1], p=[0.1, 0.8, 0.1], size=(12, 300))
        seen = [
            compare(scores((d > 0) * 1.0), scores((d < 0) * 1.0), POLICY, look=spending.look([False] * k, POLICY))
            for k, d in enumerate(flips)
        ]
        of_stream += any(one.verdict == "promote" for one in seen)
        each_alone += any(one.low > 0 and one.p_value < 0.05 for one in seen)
    assert of_stream <= 6  # 5 % of 40 is 2; 6 is its 99th percentile
    assert each_alone >= 5  # 26 % of 40 is 10


def test_a_late_look_asks_for_more_and_says_so():
    pair = binary(1000, wins=115, losses=80)
    assert compare(*pair, POLICY).verdict == "promote"
    tenth = compare(*pair, POLICY, look=spending.look([False] * 9, POLICY))
    assert tenth.verdict == "inconclusive"
    assert "look 10 of 25 at this test set asks for 99.82%" in tenth.reason
    assert tenth.low > 0 > tenth.look_low
    assert tenth.num_more_needed


def test_a_test_set_that_was_looked_at_too_often_decides_nothing_more():
    spent = compare(*binary(1000, wins=300, losses=0), POLICY, look=spending.look([False] * 25, POLICY))
    assert (spent.verdict, spent.num_more_needed) == ("inconclusive", None)
    assert "rotate the test set" in spent.reason
    worse = compare(*binary(1000, wins=0, losses=300), POLICY, look=spending.look([False] * 25, POLICY))
    assert worse.verdict == "reject"


def test_without_a_budget_each_comparison_stands_alone():
    policy = POLICY.model_copy(update={"max_looks": None})
    look = spending.look([False] * 99, policy)
    assert (look.level, look.is_spent) == (pytest.approx(0.025), False)


def test_a_set_is_named_by_its_rows_whatever_their_order():
    assert spending.set_name(["b", "a"]) == spending.set_name(["a", "b"]) != spending.set_name(["a", "c"])

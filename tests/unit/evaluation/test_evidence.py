"""What stands beside a verdict: calibration, other seeds, typing errors and the clock."""

import numpy as np
import pandas as pd
import pytest

from components.evaluation import robustness
from components.evaluation.calibration import calibration, expected_calibration_error
from components.evaluation.gate import Verdict, compare
from components.evaluation.paraphrase import paraphrased
from components.evaluation.seeds import seed_spread
from components.recipes import GatePolicy
from components.tasks import get_task
from components.tasks.base import Answer
from tests.unit.evaluation.test_gate import binary, scores

POLICY = GatePolicy(num_resamples=1000)


def confident(right: np.ndarray, confidence: float) -> pd.DataFrame:
    return scores(right).assign(confidence=confidence)


def test_a_model_that_is_as_sure_as_it_is_right_has_no_calibration_error():
    right = np.arange(1000) % 4 != 0  # 75 %
    assert expected_calibration_error(confident(right, 0.75)) == pytest.approx(0)
    assert expected_calibration_error(confident(right, 1.0)) == pytest.approx(0.25)


def test_calibration_is_compared_pair_by_pair_and_decides_nothing():
    right = np.arange(1000) % 4 != 0
    found = calibration(confident(right, 0.99), confident(right, 0.75))
    assert found.error == pytest.approx(0.24)
    assert 0 < found.brier_low < found.brier_difference < found.brier_high
    gain, before = binary(1000, wins=130, losses=60)
    verdict = compare(gain.assign(confidence=1.0), before.assign(confidence=0.5), POLICY)
    assert verdict.verdict == "promote"
    assert verdict.calibration.error > verdict.calibration.champion_error


def test_models_without_confidence_have_no_calibration():
    assert calibration(scores([1.0, 0.0]), confident(np.array([1, 0]), 0.5)) is None


def draw(mean: float, seed: int, n: int = 1000) -> pd.Series:
    drawn = np.random.default_rng(seed).choice([1.0, 0.0, -1.0], p=[0.1 + mean, 0.8 - mean, 0.1], size=n)
    return pd.Series(drawn, index=[f"{i:04d}" for i in range(n)])


def test_seeds_that_disagree_widen_the_interval():
    alike = seed_spread([draw(0.05, seed) for seed in range(5)], confidence_level=0.95)
    apart = seed_spread(
        [draw(mean, seed) for seed, mean in enumerate([0.15, 0.0, 0.1, 0.0, 0.0])], confidence_level=0.95
    )
    assert alike.num_seeds == apart.num_seeds == 5
    assert alike.low > 0 > apart.low
    assert apart.seed_deviation > 3 * alike.seed_deviation


def test_the_interval_over_seeds_holds_the_recipes_difference_as_often_as_it_says():
    """Four seeds of a recipe whose mean difference is 0.03, with a seed's own luck of 0.02: 95 % hold it."""
    draws = np.random.default_rng(1)
    held = 0
    for _ in range(150):
        found = seed_spread(
            [draw(0.03 + draws.normal(0, 0.02), int(draws.integers(1 << 30)), n=500) for _ in range(4)],
            confidence_level=0.95,
        )
        held += found.low <= 0.03 <= found.high
    assert held >= 134  # 142 of 150, less three standard deviations


def test_one_seed_says_nothing_of_others():
    assert seed_spread([draw(0.05, 0)], confidence_level=0.95) is None


def test_a_policy_may_ask_for_seeds_and_is_told_how_many_there_are():
    gain = binary(1000, wins=130, losses=60)
    three = POLICY.model_copy(update={"minimum_seeds": 3})
    assert "3 seeds are asked for, and 1 is there" in compare(*gain, three).reason
    lucky = seed_spread([draw(0.2, 0), draw(0.0, 1), draw(-0.05, 2)], confidence_level=0.95)
    assert "over 3 seeds it is" in compare(*gain, three, seeds=lucky).reason
    steady = seed_spread([draw(0.1, seed) for seed in range(4)], confidence_level=0.95)
    verdict = compare(*gain, three, seeds=steady)
    assert verdict.verdict == "promote"
    assert Verdict.model_validate_json(verdict.model_dump_json()) == verdict


def test_typing_errors_are_always_the_same_and_about_as_many_as_asked_for():
    text = "Return the shortest path between two nodes of a weighted graph. " * 40
    assert robustness.typos(text, seed=1) == robustness.typos(text, seed=1) != robustness.typos(text, seed=2)
    words = zip(text.split(), robustness.typos(text, seed=1).split(), strict=True)  # spaces stay
    changed = sum(a != b for a, b in words)
    letters = sum(map(str.isalpha, text))
    assert 0.03 * letters < changed < 0.06 * letters
    assert robustness.typos("", seed=1) == ""
    assert robustness.typos("数据 12 34 !?", seed=1, share=1.0)[0] == "数"


def test_a_model_that_knows_texts_by_heart_loses_to_other_words():
    texts = [f"find the large error number {i}" for i in range(40)]
    rows = pd.DataFrame({"id": [str(i) for i in range(40)], "text": texts, "label": "sympy"})
    reworded = paraphrased(texts[0], seed=0, share=0.5)
    assert reworded == paraphrased(texts[0], seed=0, share=0.5) != texts[0]
    assert len(reworded.split()) == len(texts[0].split())

    def by_heart(asked):
        return [Answer("sympy" if text in texts else "mne", 1.0, (("sympy", 1.0),)) for text in asked]

    found = robustness.ask(by_heart, rows, task=get_task("classification"), seed=0)
    assert (found.score, found.paraphrase_score) == (1.0, 0.0)


def test_a_model_that_reads_letter_by_letter_loses_to_typing_errors_and_one_that_does_not_keeps_its_score():
    texts = [f"simplify the expression number {i}" for i in range(60)]
    rows = pd.DataFrame({"id": [str(i) for i in range(60)], "text": texts, "label": "sympy"})
    task = get_task("classification")
    exact = frozenset(texts)

    def by_heart(asked):
        return [Answer("sympy" if text in exact else "mne", 1.0, (("sympy", 1.0),)) for text in asked]

    def always(asked):
        return [Answer("sympy", 1.0, (("sympy", 1.0),)) for _ in asked]

    brittle, sturdy = (robustness.ask(say, rows, task=task, seed=0) for say in (by_heart, always))
    assert (brittle.score, sturdy.score, sturdy.typo_score) == (1.0, 1.0, 1.0)
    assert brittle.typo_score < 0.5
    assert brittle.paraphrase_score is None, "no rule has anything to say of these texts"
    assert brittle.seconds_per_example > 0

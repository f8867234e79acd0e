"""The test behind the watch: how often it is wrong with and without a brigade, and what it finds."""

import numpy as np
import pytest

from components.evaluation.watch import judge
from components.watch_policy import WatchPolicy

POLICY = WatchPolicy()
NUM_STREAMS = 500
NUM_SUBJECTS = 400


def stream(rng, *, new: float, old: float = 0.8, brigade: float = 0.0, words_each: int = 1) -> list[tuple[bool, float]]:
    """One word a subject, as the ledger keeps it; a brigade, of which all speak as badly of the new one as they can."""
    found: list[tuple[bool, float]] = []
    for _ in range(NUM_SUBJECTS):
        is_control = rng.random() < POLICY.control_percent / 100
        if rng.random() < brigade:
            found += [(is_control, float(is_control))] * words_each
        else:
            found.append((is_control, float(rng.random() < (old if is_control else new))))
    return found


def share_rolled_back(num_streams: int = NUM_STREAMS, **subjects: float) -> float:
    rng = np.random.default_rng(0)
    return sum(judge(stream(rng, **subjects), POLICY).is_worse for _ in range(num_streams)) / num_streams


def test_a_champion_that_is_no_worse_is_hardly_ever_rolled_back():
    assert share_rolled_back(new=0.8) <= POLICY.false_alarm


def test_a_brigade_of_a_fifth_of_the_subjects_cannot_roll_back():
    assert share_rolled_back(new=0.8, brigade=POLICY.tolerated_share) <= POLICY.false_alarm


def test_counting_every_word_instead_of_every_subject_would_let_it():
    assert share_rolled_back(30, new=0.8, brigade=POLICY.tolerated_share, words_each=50) > 0.9


def test_a_broken_champion_is_found():
    assert share_rolled_back(60, new=0.1) > 0.9
    assert share_rolled_back(60, new=0.6) < 0.1  # worse by no more than is tolerated: not seen


def test_what_was_shown_stays_shown_and_nothing_is_shown_by_few():
    bad = [(False, 0.0), (True, 1.0)]
    assert not judge(bad * 10, POLICY).is_worse
    assert judge(bad * 30, POLICY).is_worse
    assert judge(bad * 30 + [(False, 1.0), (True, 0.0)] * 200, POLICY).is_worse


def test_one_arm_alone_says_nothing():
    found = judge([(False, 0.0)] * 1000, POLICY)
    assert (found.e_value, found.num_blocks, found.num_control, found.mean_control) == (1.0, 0, 0, None)


@pytest.mark.parametrize("order", [(True, False), (False, True)])
def test_the_capital_is_that_of_the_formula(order):
    policy = WatchPolicy(tolerated_share=0.0)
    outcomes = [(side, 1.0 if side else 0.0) for side in order]
    from components.evaluation.watch import BETS

    assert judge(outcomes, policy).e_value == pytest.approx(sum(1 + bet for bet in BETS) / len(BETS))

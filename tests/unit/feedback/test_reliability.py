"""Dawid and Skene's EM, on raters whose errors are known."""

import random

import pytest

from components.feedback.reliability import Vote, dawid_skene

LABELS = ("a", "b", "c", "d")


def votes(
    raters: dict[str, object], *, num_items: int, per_item: int, seed: int = 0
) -> tuple[list[Vote], dict[str, str]]:
    """Rater → how often right, or a function of (true label, draws)."""
    draws = random.Random(seed)
    truth = {f"item {i:03d}": draws.choice(LABELS) for i in range(num_items)}
    found = []
    for item, label in truth.items():
        for rater in draws.sample(sorted(raters), per_item):
            how = raters[rater]
            if callable(how):
                said = how(label, draws)
            else:
                said = label if draws.random() < how else draws.choice([one for one in LABELS if one != label])
            found.append(Vote(item, rater, said))
    return found, truth


def best(posterior: dict[str, float]) -> str:
    return max(posterior, key=posterior.__getitem__)


def test_labels_are_found_better_than_by_majority():
    """Two experts among eight who guess: the majority does not know them, EM does."""
    raters = {f"guesser {i}": 0.4 for i in range(8)} | {"expert 1": 0.97, "expert 2": 0.97}
    said, truth = votes(raters, num_items=300, per_item=5)
    found = dawid_skene(said, labels=LABELS)
    by_majority = 0
    for item, label in truth.items():
        given = [vote.said for vote in said if vote.item == item]
        by_majority += max(LABELS, key=given.count) == label
    by_em = sum(best(found.posterior[item]) == label for item, label in truth.items())
    assert by_em > by_majority + 20


def test_trust_is_how_often_a_rater_is_right_by_what_the_others_say():
    raters = {"good": 0.95, "bad": 0.3} | {f"other {i}": 0.85 for i in range(6)}
    said, _ = votes(raters, num_items=400, per_item=5)
    trust = dawid_skene(said, labels=LABELS).trust
    for label in LABELS:
        assert trust["good", label][1] > 0.85
        assert trust["bad", label][1] < 0.55
        assert trust["good", label][0] > 30


def test_who_lies_about_one_label_loses_their_word_on_that_label_only():
    def liar(label: str, _: random.Random) -> str:
        return "b" if label == "a" else label

    raters = {"liar": liar} | {f"other {i}": 0.9 for i in range(6)}
    said, _ = votes(raters, num_items=400, per_item=4)
    trust = dawid_skene(said, labels=LABELS).trust
    assert trust["liar", "b"][1] < 0.65  # half of its b are a's
    assert trust["liar", "c"][1] > 0.9
    assert trust["liar", "d"][1] > 0.9


def test_a_known_answer_stands_whatever_the_majority_says():
    said = [Vote("known", f"r{i}", "a") for i in range(5)]
    found = dawid_skene(said, labels=LABELS, known={"known": "d"})
    assert found.posterior["known"] == {"a": 0.0, "b": 0.0, "c": 0.0, "d": 1.0}
    assert found.trust["r0", "a"] == (1, 0.0)


def test_an_items_only_rater_neither_gains_nor_loses_trust_by_it():
    said = [Vote(f"item {i}", "alone", "a") for i in range(20)]
    found = dawid_skene(said, labels=LABELS)
    assert found.trust == {}
    assert best(found.posterior["item 0"]) == "a"


def test_two_strangers_who_contradict_each_other_leave_it_open():
    found = dawid_skene([Vote("x", "r1", "a"), Vote("x", "r2", "b")], labels=LABELS)
    assert found.posterior["x"]["a"] == pytest.approx(found.posterior["x"]["b"])


def test_the_order_of_the_votes_changes_nothing():
    said, _ = votes({f"r{i}": 0.8 for i in range(5)}, num_items=40, per_item=3)
    assert dawid_skene(said, labels=LABELS) == dawid_skene(said[::-1], labels=LABELS)

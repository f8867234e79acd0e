"""A challenger that is better on the whole may be worse somewhere."""

import numpy as np
import pandas as pd
import pytest

from components.evaluation.gate import compare
from components.evaluation.slices import compare_slices, groups, holm
from components.recipes import GatePolicy

POLICY = GatePolicy(num_resamples=1000)


def rows(n: int = 800) -> pd.DataFrame:
    """Eight labels; each comes from a source of the same name."""
    label = [f"label{i % 8}" for i in range(n)]
    return pd.DataFrame(
        {"id": [f"{i:04d}" for i in range(n)], "text": ["x" * (10 + i) for i in range(n)], "label": label}
    ).assign(source=label)


def scored(frame: pd.DataFrame, chance: dict[str, float], *, seed: int) -> pd.DataFrame:
    right = np.random.default_rng(seed).random(len(frame)) < frame["label"].map(lambda one: chance.get(one, 0.6))
    return pd.DataFrame({"id": frame["id"], "score": right.astype(float)})


def test_slices_are_labels_sources_and_thirds_of_length_and_none_is_there_twice():
    found = groups(rows(), POLICY)
    assert [name for name in found if name.startswith("label")] == [f"label: label{i}" for i in range(8)]
    assert {name for name in found if name.startswith("length")} == {
        "length: short",
        "length: medium",
        "length: long",
    }
    assert not [name for name in found if name.startswith("source")]
    assert sum(len(ids) for name, ids in found.items() if name.startswith("length")) == 800


def test_slices_by_language_and_by_group_are_found_where_a_policy_names_them():
    said = ("the shortest path between two of the nodes", "两个节点之间的最短路径", "42")
    frame = rows(300).assign(text=[said[i % 3] for i in range(300)], group=[f"p{i % 2}/file{i}.py" for i in range(300)])
    found = groups(frame, POLICY.model_copy(update={"slices": ("language", "group")}))
    assert {name: len(ids) for name, ids in found.items()} == {
        "language: en": 100, "language: zh": 100, "group: p0": 150, "group: p1": 150,
    }  # fmt: skip
    assert groups(frame.drop(columns="group"), POLICY.model_copy(update={"slices": ("group",)})) == {}


def test_slices_that_are_too_small_or_free_text_are_left_out():
    few = rows(100)  # 12 rows a label
    assert {name.split(":")[0] for name in groups(few, POLICY)} == {"length"}
    free = rows().assign(label=[f"answer {i}" for i in range(800)], source="one")
    assert {name.split(":")[0] for name in groups(free, POLICY)} == {"length"}
    assert groups(rows(), POLICY.model_copy(update={"slices": ()})) == {}


def test_a_gain_that_harms_one_slice_is_not_promoted_and_named():
    frame = rows()
    better = {f"label{i}": 0.9 for i in range(8)} | {"label3": 0.05}
    pair = scored(frame, better, seed=1), scored(frame, {}, seed=2)
    verdict = compare(*pair, POLICY, groups=groups(frame, POLICY))
    assert verdict.verdict == "inconclusive"
    assert "worse by more than 0.050 on label: label3" in verdict.reason
    assert {one.name for one in verdict.slices if one.finding == "worse"} == {"label: label3"}
    reported = compare(*pair, POLICY.model_copy(update={"slices_rule": "report"}), groups=groups(frame, POLICY))
    assert reported.verdict == "promote"
    assert reported.slices == verdict.slices


def test_slices_of_a_hundred_rows_do_not_forbid_a_real_gain_unless_each_must_be_proven_harmless():
    frame = rows()
    gain = {f"label{i}": 0.68 for i in range(8)}
    pair = scored(frame, gain, seed=3), scored(frame, {}, seed=4)
    found = groups(frame, POLICY)
    assert compare(*pair, POLICY, groups=found).verdict == "promote"
    strict = compare(*pair, POLICY.model_copy(update={"slices_rule": "non_inferior"}), groups=found)
    assert strict.verdict == "inconclusive"
    assert "is not ruled out on" in strict.reason


def test_a_loss_just_at_the_margin_is_called_worse_in_at_most_one_family_of_twenty():
    draws = np.random.default_rng(0)
    frame = rows(480)
    parts = {name: ids for name, ids in groups(frame, POLICY).items() if name.startswith("label")}  # 8 of 60 rows
    wrongly = 0
    for _ in range(150):
        d = pd.Series(draws.choice([1, 0, -1], p=[0.10, 0.75, 0.15], size=480).astype(float), index=frame["id"])
        wrongly += any(one.finding == "worse" for one in compare_slices(d, parts, POLICY))
    assert wrongly <= 14  # 5 % of 150 is 7.5, its 99th percentile 14


def test_two_models_that_agree_everywhere_are_not_worse_only_where_there_is_enough_to_see_it():
    d = pd.Series(0.0, index=[str(i) for i in range(1000)])
    few, many = frozenset(map(str, range(30))), frozenset(map(str, range(1000)))
    found = compare_slices(d, {"few": few, "many": many}, POLICY.model_copy(update={"slice_margin": 0.02}))
    assert [one.finding for one in found] == ["unknown", "not worse"]


@pytest.mark.parametrize(
    ("p_values", "rejected"),
    [([0.01, 0.04, 0.03], [True, False, False]), ([0.01, 0.02, 0.03], [True] * 3), ([0.06], [False]), ([], [])],
)
def test_holms_step_down(p_values, rejected):
    assert holm(p_values, 0.05) == rejected

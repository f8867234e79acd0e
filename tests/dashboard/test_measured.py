"""What was measured of each family, on one corpus."""

from dataclasses import replace

from components.ledger.schema import Cost
from dashboard import charts
from dashboard.records import CostState, DataState
from dashboard.text import Words
from dashboard.viewmodels.measured import measured
from tests.dashboard.test_viewmodels import data_version, model

EN = Words("en")
DATA = DataState((data_version(tables={"corpus": "c1"}), data_version("b" * 32, tables={"corpus": "c2"})), ())


def grown(family, version, bits, *, data="a" * 32, at=1.0):
    changes = {"task": "corpus", "recipe": {"family": family}, "tags": {"banyan.data_version": data}}
    metrics = {"bits_per_byte": bits} if bits else {"heldout_loss": 2.0}
    made = model(family, version, metrics=metrics, created_at=at, run_id=f"{family}{version}", **changes)
    return replace(made, is_champion=False)


def spent(*models, seconds=10.0):
    costs = tuple(
        Cost(1.0, one.run_id, "train", one.name, "cpu", seconds, seconds * (place + 1), None, None)
        for place, one in enumerate(models)
    )
    return CostState(costs, (), 0.25, 0.0, "")


def test_the_best_of_each_family_is_marked_and_the_best_family_comes_first():
    models = [grown("gpt", 1, 2.0), grown("gpt", 2, 1.8), grown("rnn", 1, 2.6)]
    view = measured(models, spent(*models), DATA, EN)
    assert [(one.title, one.is_best) for one in view.points] == [
        ("GPT · gpt v1", False), ("GPT · gpt v2", True), ("RNN · rnn v1", True),
    ]  # fmt: skip
    assert [one.bits for one in view.best] == [1.8, 2.6]
    assert view.points[1].said == "1.800 bits per byte for 20 s of processor time"


def test_only_what_was_trained_on_the_corpus_of_the_newest_one_is_compared():
    old, new = grown("rnn", 1, 2.6), grown("gpt", 1, 1.8, data="b" * 32, at=2.0)
    view = measured([old, new], spent(old, new), DATA, EN)
    assert [one.model for one in view.points] == [new] and view.num_elsewhere == 1


def test_what_has_no_bits_per_byte_or_no_known_compute_is_left_out():
    masked, unpaid = grown("bert", 1, None), grown("gpt", 1, 1.8)
    assert measured([masked, unpaid], spent(masked), DATA, EN).points == ()


def test_a_single_point_and_a_curve_of_two_steps_can_be_drawn():
    one = grown("gpt", 1, 1.8)
    view = measured([one], spent(one), DATA, EN)
    drawn = charts.scatter(view.points, label="l", x_label="x", y_label="y", ticks=EN.duration)
    assert drawn.count("<circle") == 2 and ">GPT</text>" in drawn, "wide and narrow"
    assert "nan" not in charts.curve(((1, 2.0), (2, 2.0)), name="n", label="l", x_label="x")

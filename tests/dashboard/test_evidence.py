"""What the gate kept, made ready to be drawn; lineage, costs and champions to go back to, as pure functions."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from components.evaluation.parity import Mismatch, Parity
from components.evaluation.slices import compare_slices
from components.feedback.closing import Closing, Measures
from components.ledger.schema import Cost, LookRow
from components.recipes import GatePolicy
from dashboard import charts
from dashboard.records import Bin, CostState, LedgerState, Planned
from dashboard.text import Words
from dashboard.viewmodels.cost import accepted_points, cost_view, joules_of
from dashboard.viewmodels.evidence import choices, evidence_view, slice_interval
from dashboard.viewmodels.lineage import lineage_view
from dashboard.viewmodels.measures import measure_tiles
from dashboard.viewmodels.models import earlier_champions
from dashboard.viewmodels.parity import parity_rows
from tests.dashboard.test_viewmodels import activity, model, verdict

EN, ZH = Words("en"), Words("zh")


def look(version: int, *, word: str = "promote", number: int = 1, level: float = 0.025, **more: Any) -> LookRow:
    evidence = {
        "difference": 0.1, "low": 0.07, "high": 0.13, "num_wins": 9, "num_losses": 2, "reason": "better",
        "look": {"number": number, "budget": 25, "level": level, "test_set": "t"}, **more,
    }  # fmt: skip
    return LookRow(1.0, "t", "banyan-library", version, "champion", version - 1, word, evidence)  # type: ignore[arg-type]


def test_a_slices_interval_is_the_one_that_its_test_was_made_of() -> None:
    """From the p-value alone, the standard error of Agresti and Min comes back."""
    draws = np.random.default_rng(0)
    d = pd.Series(draws.choice([-1.0, 0.0, 1.0], p=[0.1, 0.7, 0.2], size=200), index=[str(n) for n in range(200)])
    policy = GatePolicy()
    (found,) = compare_slices(d, {"label: x": frozenset(d.index)}, policy)
    n, mean = 202, float(d.sum()) / 202
    error = (((float((d**2).sum()) + 1) / n - mean**2) / n) ** 0.5
    ends = slice_interval(found.model_dump(), margin=policy.slice_margin, level=0.95)
    assert ends == pytest.approx((mean - 1.96 * error, mean + 1.96 * error), abs=1e-4)


def test_a_slice_whose_test_says_nothing_of_its_spread_has_no_interval() -> None:
    one = {"difference": -0.05, "num_examples": 10_000, "p_not_worse": 0.5}
    assert slice_interval(one, margin=0.05, level=0.95) is None


def test_the_stream_counts_what_is_spent_and_what_a_promotion_passes_on() -> None:
    looks = [look(2, number=1), look(3, word="inconclusive", number=2, level=0.01), look(4, number=3, level=0.005)]
    view = evidence_view(verdict(4, against=3), looks, [model(version=4), model(version=3)], EN)
    assert view.stream is not None
    assert [one.number for one in view.stream.looks] == [1, 2, 3]
    assert "3 of 25 looks" in view.stream.budget
    assert "1.00%" in view.stream.spent  # the inconclusive one alone


def test_a_control_has_no_look_and_the_rest_is_shown_all_the_same() -> None:
    view = evidence_view(verdict(2, against=1), [], [model(version=2), model(version=1)], EN)
    assert view.stream is None and view.slices is None
    assert [(side.label, side.gain) for side in view.sides] == [("accuracy", True)]


def test_the_champion_and_the_challenger_are_compared_in_the_measures_direction() -> None:
    worse = model(version=2, metrics={"accuracy": 0.5, "calibration_error": 0.2})
    before = model(version=1, metrics={"accuracy": 0.6, "calibration_error": 0.1})
    sides = evidence_view(verdict(2, against=1), [look(2)], [worse, before], EN).sides
    assert [side.gain for side in sides] == [False, False]


@pytest.mark.parametrize(
    ("found", "shown"),
    [
        ({"champion": 0.6, "difference": 0.2, "interval": [0.1, 0.3]}, ("80.0%", "60.0%", True)),
        ({"champion": 0.6, "difference": 0.2, "interval": [-0.1, 0.5]}, ("80.0%", "60.0%", None)),
        ({"champion": 0.6, "difference": 0.2, "interval": None}, ("80.0%", "60.0%", None)),
        ({"champion": None, "difference": None, "interval": None}, ("80.0%", "–", None)),
    ],
)
def test_feedback_kept_aside_stands_beside_the_verdict_and_calls_better_only_what_its_interval_does(
    found: dict[str, Any], shown: tuple[str, str, bool | None]
) -> None:
    kept = look(2, feedback={"num_examples": 40, "challenger": 0.8, **found})
    for words in (EN, ZH):
        sides = evidence_view(verdict(2, against=1), [kept], [model(version=2), model(version=1)], words).sides
        label = words("gate.feedback", rows=words.counted("row", 40))
        (side,) = [one for one in sides if one.label == label]
        assert (side.challenger, side.against, side.gain) == shown
        assert ("10" in side.difference) == bool(found["interval"])


def test_what_models_cost_stands_beside_their_quality_and_less_is_better() -> None:
    mine = {"weight_bytes": 90_000_000, "cpu_seconds": 70.0, "energy_joules": 7200.0, "seconds_per_example": 0.5}
    theirs = mine | {"cpu_seconds": 140.0, "energy_joules": None, "seconds_per_example": 0.4}
    cost = {"num_timed": 20, "currency": "EUR", "challenger": mine | {"money": 0.5}, "champion": theirs}
    view = evidence_view(verdict(2, against=1), [look(2, cost=cost)], [model(version=2), model(version=1)], EN)
    sides = {side.label: (side.challenger, side.against, side.difference, side.gain) for side in view.sides}
    assert sides["time per answer"] == ("500.0 ms", "400.0 ms", "× 1.25", False)
    assert sides["training, processor time"] == ("1.2 min", "2.3 min", "× 0.50", True)
    assert sides["training, energy"] == ("2 Wh", "–", "", None)
    assert sides["training, money"] == ("0.50 EUR", "–", "", None)
    assert sides["weights on disk"] == ("90.0 MB", "90.0 MB", "× 1.00", None)
    assert [bar.value for bar in view.speed] == ["500.0 ms", "400.0 ms"]


def test_each_engines_parity_is_told_with_its_tolerance_and_where_it_fails() -> None:
    passed = Parity(
        engine="torch", precision="float32", passed=True, num_probes=112, num_values=9, largest=7.5e-7, mean=2e-8,
        tolerance=1e-3, mean_tolerance=1e-4,
    )  # fmt: skip
    text = {"text": "a text", "position": 4, "what": "token", "expected": 7.0, "got": 8.0, "together": True}
    blocked = passed.model_copy(
        update={"engine": "openvino", "passed": False, "largest": 0.5, "mismatch": Mismatch.model_validate(text)}
    )
    rows = parity_rows({"openvino": blocked, "torch": passed}, EN)
    assert [(row.engine, row.verdict, row.largest) for row in rows] == [
        ("torch", "passed", "7.5e-07 of 0.001"), ("openvino", "blocked", "0.5 of 0.001"),
    ]  # fmt: skip
    assert "token 4 of 'a text'" in rows[1].problem and not rows[0].problem


def test_the_loop_as_a_whole_is_told_and_what_is_not_known_yet_is_not_made_up() -> None:
    closing = Closing(complaint_at=1000.0, version_before=1, promoted_at=1180.0, version_after=3, answers_at=1192.0)
    counted = {"num_promotions": 2, "num_rollbacks": 1, "rollback_seconds": 0.25, "rollback_dropped": 3}
    found = Measures(closing, **counted, num_rows=684, num_lost=0)
    tiles = measure_tiles(found, [verdict(3, against=1)], EN)
    assert [tile.value for tile in tiles] == ["3.2 min", "at most 5%", "0.25 s", "3", "0"]
    assert "v1" in tiles[0].note and "v3" in tiles[0].note and "684" in tiles[4].note
    nothing = measure_tiles(Measures(None, 0, 0, None, None, 0, 0), [], EN)
    assert [tile.value for tile in nothing] == [EN("tile.unknown")] * 4 + ["0"]


def test_comparisons_are_offered_newest_first() -> None:
    rows = [verdict(1), verdict(2, against=1), verdict(3, against=2, word="reject")]
    assert [row.model_version for row in choices(rows, "banyan-library", EN).values()] == [3, 2, 1]


def test_nothing_that_somebody_wrote_becomes_markup() -> None:
    evil = {"name": "label: <b>x", "num_examples": 50, "difference": 0.1, "finding": "not worse", "p_not_worse": 0.01}
    view = evidence_view(verdict(2, against=1), [look(2, slices=[evil])], [model(version=2)], EN)
    assert view.slices is not None
    assert "<b>" not in charts.forest(view.slices)
    drawn = charts.reliability([("a", "<b>x", (Bin(0.5, 0.4, 3),))], label="<b>", x_label="<b>", y_label="y")
    assert "<b>" not in drawn


def test_lineage_leads_back_to_data_recipe_parent_and_code_and_forward_to_answers() -> None:
    tags = {"banyan.data_version": "d" * 32, "banyan.recipe_sha256": "e" * 64, "banyan.revision": "f" * 40}
    one = model(version=1, tags=tags, recipe={"base": "minilm", "name": "library", "seed": 3})
    ledger = LedgerState((activity(answers_by_version={1: 7}),), (), ())
    view = lineage_view(one, data=None, ledger=ledger, answers=(), words=EN)
    assert [node.digest for node in view.made_of][:2] == ["d" * 10, "e" * 10]
    assert [node.title for node in view.made_of][2:] == ["minilm", "f" * 10]
    assert view.answers.title == "7"


@pytest.mark.parametrize(
    ("recipe", "title", "said"),
    [
        ({"base": "minilm"}, "minilm", "public base weights"),
        ({"base": "banyan-gpt@2"}, "banyan-gpt@2", "a version that was trained here"),
        ({"base": "fresh", "fresh": {"family": "lstm"}}, "lstm", "trained from nothing"),
        ({"family": "gpt"}, "gpt", "trained from nothing"),
    ],
)
def test_a_parent_is_public_ours_or_nothing(recipe: dict[str, Any], title: str, said: str) -> None:
    view = lineage_view(model(version=1, recipe=recipe), data=None, ledger=None, answers=(), words=EN)
    assert (view.made_of[2].title, view.made_of[2].lines) == (title, (said,))


def test_only_versions_that_were_champion_can_be_gone_back_to() -> None:
    from tests.dashboard.test_viewmodels import JournalEntry

    def moved(sequence: int, to: int, state: str = "done") -> JournalEntry:
        return JournalEntry(
            sequence, 1.0, f"m{sequence}", state, "promote", "banyan-library", "champion", None, to, "w", "gate", {},
            "", "p", "h",
        )  # type: ignore[arg-type]  # fmt: skip

    journal = (moved(1, 1), moved(2, 3), moved(3, 4, "abandoned"), moved(4, 5))
    assert earlier_champions(LedgerState((), (), journal), model(version=5)) == [3, 1]


def cost(run: str, *, seconds: float = 3600.0, **changes: Any) -> Cost:
    return Cost(1.0, run, "train", "banyan-library", "cpu", seconds, None, 10**9, None, **changes)


def test_energy_is_what_was_written_down_and_an_estimate_where_nothing_was() -> None:
    assert joules_of(cost("a", energy_joules=500.0, energy_source="rapl: x")) == (500.0, True)
    assert joules_of(cost("a", energy_joules=500.0, energy_source="estimate: y")) == (500.0, False)
    joules, is_measured = joules_of(cost("a"))
    assert joules > 0 and not is_measured


def test_a_point_is_paid_for_by_all_trainings_of_its_model() -> None:
    costs = tuple(cost(run, energy_joules=3.6e6, energy_source="rapl") for run in ("a", "b"))
    state = CostState(costs, (Planned("library", 50.0, 1.0, 0.25, 100.0, "k"),), 0.5, 1.0, "EUR")
    ledger = LedgerState((), (verdict(1, difference=0.02), verdict(2, against=1, word="reject", difference=0.5)), ())
    view = cost_view(state, [model(run_id="a")], ledger, EN)
    assert accepted_points(ledger.verdicts) == pytest.approx(2.0)
    assert view.sums.money == pytest.approx(2 * (0.5 + 1.0))  # a kilowatt-hour and an hour each
    assert view.models[0][-1] == "1.50 EUR"
    assert view.plans[0][3] == "× 2.00"
    assert "100%" in next(tile.note for tile in view.tiles if tile.label == "Energy")

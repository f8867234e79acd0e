"""A version that was taken back is nowhere shown as the newest improvement, and its roll-back says why."""

from dataclasses import replace
from typing import Any

from components.ledger.schema import ActionRow, Cost, JournalEntry
from dashboard import charts, pictures
from dashboard.records import CostState, LedgerState, RunDetail, Step
from dashboard.text import Words
from dashboard.viewmodels.cost import cost_view
from dashboard.viewmodels.ecosystem import ecosystem
from dashboard.viewmodels.evidence import Stream, StreamLook
from dashboard.viewmodels.models import models_view
from dashboard.viewmodels.people import action_lines
from dashboard.viewmodels.runs import run_view
from dashboard.viewmodels.shapes import taken_back
from tests.dashboard.test_viewmodels import activity, model, readings, verdict

EN, ZH = Words("en"), Words("zh")


def moved(sequence: int, action: str, to: int, before: int | None, **changes: Any) -> JournalEntry:
    evidence = {"reason": "it was slower"} if action == "rollback" else {"verdict": "promote", "reason": "better"}
    given: dict[str, Any] = {"state": "done", "alias": "champion", "evidence": evidence, "actor": "gate"} | changes
    return JournalEntry(
        sequence=sequence, at=float(sequence), move_id=str(sequence), action=action, name="banyan-library",
        from_version=before, to_version=to, weights_sha256="w", note="", previous="", hash="h", **given,
    )  # fmt: skip


UP = (moved(1, "promote", 1, None), moved(2, "promote", 2, 1))
BACK = moved(3, "rollback", 1, 2, actor="ana@example.org")


def test_what_a_rollback_left_is_taken_back_until_it_is_champion_again() -> None:
    assert taken_back(UP) == []
    assert taken_back((*UP, BACK)) == [("banyan-library", 2)]
    assert taken_back((*UP, moved(3, "rollback", 1, 2, state="intended"))) == []
    assert taken_back((*UP, moved(3, "rollback", 1, 2, alias="control"))) == []
    assert taken_back((*UP, BACK, moved(4, "promote", 2, 1))) == []


def test_the_models_page_says_that_the_better_one_was_taken_back_and_why() -> None:
    models = (model(version=2, metrics={"accuracy": 0.9}), model(version=1, is_champion=True))
    ledger = LedgerState((activity(),), (verdict(1), verdict(2, against=1)), (*UP, BACK))
    view = models_view(models, ledger, "banyan-library", EN)
    assert view.verdict is not None and view.verdict.since == "Since then v2 has been taken back."
    assert [bar.label for bar in view.bars][:2] == ["Champion v1", "Taken back: v2"]
    assert [line.note for line in view.moves] == ["ana@example.org · it was slower", "the gate", "the gate"]
    in_chinese = models_view(models, ledger, "banyan-library", ZH)
    assert [line.note for line in in_chinese.moves][1:] == ["关卡", "关卡"]
    before = models_view(models, LedgerState((), ledger.verdicts, UP), "banyan-library", EN)
    assert before.verdict is not None and before.verdict.since == ""


def test_the_ecosystem_counts_no_improvement_that_was_taken_back() -> None:
    both = (model(version=2), model(version=1, is_champion=True))
    told = {}
    for name, journal in (("up", UP), ("back", (*UP, BACK))):
        ledger = LedgerState((activity(),), (verdict(1), verdict(2, against=1)), journal)
        view = ecosystem(readings(models=both, ledger=ledger), EN)
        station = next(node for node in view.loop.nodes if node.stage == "optimisation")
        told[name] = (view.tiles[0].note, station.line)
    assert told["up"] == ("library v2 took over", "library v2: promoted")
    assert told["back"] == ("library v1 took over", "library v2: taken back")


def test_points_that_were_taken_back_are_not_paid_for_and_a_loss_is_no_gain() -> None:
    spent = (Cost(1.0, "a", "train", "banyan-library", "cpu", 3600.0, None, None, None, 3.6e6, "rapl"),)
    state, rows = CostState(spent, (), 0.5, 0.0, "EUR"), (verdict(1, difference=-0.3), verdict(2, difference=0.5))
    told = {}
    for name, journal in (("up", UP), ("back", (*UP, BACK))):
        view = cost_view(state, [model(run_id="a")], LedgerState((), rows, journal), EN)
        told[name] = (view.tiles[3].value, view.tiles[3].note, view.models[0][-2])
    assert told["up"][0] != "—" and told["up"][2] == "20.0"
    assert told["back"] == ("—", "promotions have brought none so far", "−30.0")


def test_what_the_champion_lost_is_not_drawn_as_a_gain() -> None:
    only = (model(version=1, is_champion=True),)
    drawn = {}
    for difference in (-0.3, 0.3):
        ledger = LedgerState((activity(),), (verdict(1, difference=difference),), UP[:1])
        drawn[difference] = pictures.loop(ecosystem(readings(models=only, ledger=ledger), EN).loop)
    assert 'class="g less"' in drawn[-0.3] and 'class="g less"' not in drawn[0.3]


def test_a_rollback_that_was_done_is_told_without_its_version_twice() -> None:
    row = ActionRow(1, 1.0, "ana@example.org", "operator", "rollback", "banyan-library v1", "done", "1")
    failed = replace(row, outcome="failed", detail="MLflow is down")
    assert [line.note for line in action_lines((row, failed), EN)] == [
        "ana@example.org · operator", "ana@example.org · operator · MLflow is down",
    ]  # fmt: skip


def test_a_training_that_is_over_has_no_bar_beside_the_steps() -> None:
    steps = (Step("train", "COMPLETED", 30.0),)
    assert run_view(RunDetail(steps, (100.0, "train library"), ()), EN).progress is None
    assert run_view(RunDetail(steps, (40.0, "train library: 4 of 10"), ()), EN).progress == (40.0, "4 of 10")


def test_the_stream_of_looks_writes_its_differences_as_the_page_does() -> None:
    look = StreamLook(1, "v2 against v1", "promoted", "ready", difference=-0.2, low=-0.433, high=-0.1, level=0.025)
    drawn = charts.looks(Stream((look,), "1 of 25", 0.04, ""), label="l", error_label="e", unit=100.0)
    assert ">−43.3</text>" in drawn and ">0.0</text>" in drawn and "+0.0" not in drawn

"""What pages show, as pure functions of what the stores said."""

from dataclasses import replace
from typing import Any

import pytest

from components.ecosystem import STAGE_NAMES
from components.ledger.schema import Fate, JournalEntry, VerdictRow
from dashboard.records import (
    DataState,
    DataVersion,
    FailedBuild,
    LedgerState,
    ModelVersion,
    Orchestration,
    Reading,
    Run,
    RunDetail,
    Seat,
    Step,
    StoreError,
    TableActivity,
)
from dashboard.text import Words
from dashboard.viewmodels.data import data_view, failed_build
from dashboard.viewmodels.ecosystem import Readings, ecosystem, failed_stages, headline, heart, working_stages
from dashboard.viewmodels.evolution import evolution
from dashboard.viewmodels.feedback import feedback_view, with_feedback
from dashboard.viewmodels.models import models_view, names, retrainable, verdict_view
from dashboard.viewmodels.playground import answering, fate_steps, loading
from dashboard.viewmodels.runs import choice, progress, reason, run_view, runs_view
from dashboard.viewmodels.shapes import score
from flows.gateway import history_lines

EN = Words("en")


def model(table: str = "library", version: int = 1, **changes: Any) -> ModelVersion:
    made = ModelVersion(
        name=f"banyan-{table}", version=version, table=table, task="classification", role="candidate",
        is_champion=False, created_at=1000.0, metrics={"accuracy": 0.4 + version / 10, "chance": 0.125},
        tags={}, recipe={"base": "minilm"}, run_id="r", weights_sha256="w", url="http://mlflow",
    )  # fmt: skip
    return replace(made, **changes)


def verdict(version: int, *, against: int = 0, word: str = "promote", **changes: Any) -> VerdictRow:
    made = VerdictRow(
        at=1.0, model_name="banyan-library", model_version=version, against="champion" if against else "baseline",
        against_version=against, metric="accuracy", verdict=word, difference=0.1, low=0.07, high=0.13, p_value=0.001,
        num_examples=1000, num_more_needed=None, data_version="d", policy={"confidence_level": 0.95},
    )  # type: ignore[arg-type]  # fmt: skip
    return replace(made, **changes)


def activity(table: str = "library", **changes: Any) -> TableActivity:
    made = TableActivity(
        table=table, num_answers=10, answers_by_version={1: 10}, kinds={"approve": 4, "correct": 2},
        fates={"received": 2, "refused": 1, "admitted": 0, "trained": 2, "measured": 1}, refusals={"twice": 1},
        num_pending=2, corrected_now_right=0.5, cuts=(),
    )  # fmt: skip
    return replace(made, **changes)


def run(flow: str, state: str, *, at: float = 0.0, **changes: Any) -> Run:
    made = Run(
        id=f"{flow}-{at}", name="n", flow=flow, pool="cpu", state=state, state_name=state.title(), message="",
        created_at=at, started_at=at, seconds=3.0, table="library", parent="", url="http://prefect", by="",
    )  # fmt: skip
    return replace(made, **changes)


def orchestration(*runs: Run, steps: dict[str, str] | None = None, workers: int = 1) -> Orchestration:
    return Orchestration(runs, steps or {}, ("retrain/cpu",), workers, "http://prefect")


def data_version(version: str = "a" * 32, **changes: Any) -> DataVersion:
    made = DataVersion(
        version=version, name="demo", created_at=100.0, parent="", is_head=True,
        rows={"library": {"train": 200, "test": 1000}}, sources={"library": {"nltk": 700, "mne": 500}}, labels={},
        licences={"nltk": "Apache-2.0", "mne": "BSD-3-Clause"}, rejects={"library": {"duplicate": 12, "no text": 0}},
        changed={}, num_checks=30, docs=None,
    )  # fmt: skip
    return replace(made, **changes)


def seat(table: str = "library", **changes: Any) -> Seat:
    return replace(Seat(table, "ready", "", f"banyan-{table}", 2, "classification", "e", ("a", "b")), **changes)


def readings(**changes: Any) -> Readings:
    """Everything fresh and empty, but for what is given."""
    values: dict[str, Any] = {
        "models": (), "data": DataState((), ()), "orchestration": orchestration(), "ledger": LedgerState((), (), ()),
        "seats": (),
    } | changes  # fmt: skip
    stores = {
        "models": "registry", "data": "data", "orchestration": "prefect", "ledger": "ledger", "seats": "gateway"
    }  # fmt: skip
    return Readings(**{name: Reading(stores[name], value, 0.0) for name, value in values.items()})  # type: ignore[arg-type]


def states(found: Readings) -> dict[str, str]:
    return {node.stage: node.state for node in ecosystem(found, EN).loop.nodes}


# ---------------------------------------------------------------- the loop


def test_a_fresh_installation_is_empty_everywhere_and_a_seed() -> None:
    assert set(states(readings()).values()) == {"empty"}
    view = ecosystem(readings(), EN)
    assert (view.loop.heart.growth, view.loop.heart.value) == (0, "A seed")
    assert not view.loop.is_moving


def test_the_loop_has_its_seven_stations_in_order() -> None:
    assert tuple(states(readings())) == STAGE_NAMES


def test_a_running_step_moves_its_station_and_no_other() -> None:
    running = run("retrain", "RUNNING")
    found = readings(orchestration=orchestration(running, steps={running.id: "gate"}))
    assert states(found) == dict.fromkeys(STAGE_NAMES, "empty") | {"optimisation": "working"}
    assert ecosystem(found, EN).loop.is_moving


def test_a_flow_without_a_known_step_is_at_its_own_station() -> None:
    running = run("retrain", "RUNNING")
    assert working_stages(orchestration(running, steps={running.id: "fold"})) == {"training": "retrain"}


def test_a_run_that_the_loop_waits_for_is_told_once() -> None:
    loop, ingest = run("loop", "RUNNING"), run("ingest", "RUNNING")
    steps = {loop.id: "ingest", ingest.id: "build, validate, version demo-data"}
    assert list(working_stages(orchestration(loop, ingest, steps=steps))) == ["preprocessing"]
    rating = orchestration(loop, steps={loop.id: "scripted rater on library"})
    assert working_stages(rating) == {"application": "scripted rater on library"}


def test_a_failure_stands_until_something_succeeds() -> None:
    assert failed_stages(orchestration(run("ingest", "FAILED"))) == {"data"}
    assert failed_stages(orchestration(run("ingest", "COMPLETED", at=2), run("ingest", "CRASHED", at=1))) == set()
    # A run that has only begun says nothing yet of how it ends.
    assert failed_stages(orchestration(run("ingest", "RUNNING", at=2), run("ingest", "FAILED", at=1))) == {"data"}


def test_a_store_that_is_down_makes_only_its_own_stations_stale() -> None:
    found = readings(models=(model(),), seats=(seat(),))
    gone = replace(found.seats, problem=StoreError("gateway", "down"))
    assert states(replace(found, seats=gone))["deployment"] == "stale"
    assert states(replace(found, seats=gone))["training"] == "ready"
    lost = replace(found, seats=replace(gone, value=None))
    assert states(lost)["deployment"] == "failed"


def test_an_inconclusive_verdict_and_unused_feedback_wait() -> None:
    ledger = LedgerState((activity(),), (verdict(2, against=1, word="inconclusive"),), ())
    found = states(readings(ledger=ledger))
    assert (found["optimisation"], found["feedback"], found["application"]) == ("waiting", "waiting", "ready")


def test_the_heart_tells_what_the_last_promotion_gained() -> None:
    journal = tuple(
        JournalEntry(
            sequence=n, at=1.0, move_id=str(n), state="done", action="promote", name="banyan-library", alias="champion",
            from_version=None, to_version=n, weights_sha256="w", actor="gate", evidence={}, note="",
            previous="", hash="",
        )
        for n in (1, 2)
    )  # fmt: skip
    ledger = LedgerState((activity(),), (verdict(1), verdict(2, against=1)), journal)
    found = heart(readings(models=(model(version=2, is_champion=True), model()), ledger=ledger), EN)
    assert (found.growth, found.value, found.gain) == (3, "60.0%", "+10.0 points over v1")
    assert found.note == "95% interval +7.0 to +13.0 points, on 1,000 unseen examples"


def test_models_without_a_champion_are_a_sprout() -> None:
    assert heart(readings(models=(model(),)), EN).value == "A sprout"


def test_what_is_unknown_is_not_called_a_seed() -> None:
    found = readings()
    lost = replace(found, models=Reading("registry", None, 0.0, StoreError("registry", "down")))
    assert heart(lost, EN).value == "Not known"


def test_the_headline_is_the_application_that_is_used_most() -> None:
    champions = [model("library", is_champion=True), model("summary", is_champion=True), model("gpt", 9)]
    ledger = LedgerState((activity("library", num_answers=1), activity("summary", num_answers=2)), (), ())
    found = headline(champions, ledger)
    assert found is not None and found.table == "summary"
    assert headline([model()], ledger) is None


def test_applications_are_alive_trained_or_to_come() -> None:
    found = readings(models=(model(is_champion=True), model("gpt", task="corpus")), seats=(seat(),))
    cards = {card.title: card.state for card in ecosystem(found, EN).applications}
    assert cards["Text classification"] == "ready"
    assert cards["Text generation"] == "waiting"
    assert cards["Machine translation"] == "empty"


# ---------------------------------------------------------------- the tree


def test_the_tree_is_lit_where_models_have_grown() -> None:
    models = (model(), model(version=2), model("gpt", task="corpus", recipe={"family": "gru"}))
    view = evolution(models, EN)
    lit = {leaf.name for leaf in view.tree.leaves if leaf.is_grown}
    assert lit == {
        "bert", "transformer", "gru", "rnn", "neural_networks", "deep_learning", "nlp", "pretraining"
    }  # fmt: skip
    bert = next(card for card in view.cards if card.title == "BERT")
    assert bert.status == "Grown here · library v1–v2"
    lstm = next(card for card in view.cards if card.title == "LSTM")
    assert not lstm.is_grown and not lstm.is_foundation


def test_a_model_that_does_not_say_its_family_lights_nothing() -> None:
    view = evolution((model(recipe={}),), EN)
    assert not any(leaf.is_grown for leaf in view.tree.leaves)
    assert not view.is_empty


# ---------------------------------------------------------------- models


def test_a_models_page_compares_with_before_control_and_baseline() -> None:
    beside = {"name": "library-control", "splits": {"train": 200, "reserve": 684}}
    prompted = model(version=4, role="control", recipe={"name": "library-prompt", "splits": {"train": None}})
    mine = (model(version=3, is_champion=True), model(version=2, role="control", recipe=beside), model(version=1))
    ledger = LedgerState((), (verdict(1, difference=0.2), verdict(3, against=1)), ())
    for newest in ((), (prompted,)):  # a control of another kind does not stand for the retraining's
        shown = models_view((*newest, *mine), ledger, "banyan-library", EN).bars[2]
        assert (shown.label, shown.note) == ("Control v2", "as many random labels instead of feedback")
    alone = models_view((prompted, *mine[::2]), ledger, "banyan-library", EN).bars[2]
    assert (alone.label, alone.note) == ("Control v4", "library-prompt")
    view = models_view(mine, ledger, "banyan-library", EN)
    assert [(bar.label, bar.value) for bar in view.bars] == [
        ("Champion v3", "70.0%"), ("Before: v1", "50.0%"), ("Control v2", "60.0%"), ("Plain baseline", "30.0%")
    ]  # fmt: skip
    assert all(bar.mark == 0.125 for bar in view.bars)
    assert view.bars[-1].note == "as measured beside v1"


def test_the_gates_last_word_is_never_on_a_control_which_cannot_be_promoted() -> None:
    mine = (model(version=3, role="control"), model(version=2, is_champion=True), model(version=1))
    ledger = LedgerState((), (verdict(1), verdict(2, against=1), verdict(3, against=2)), ())
    last = models_view(mine, ledger, "banyan-library", EN).verdict
    assert last is not None and "v2" in last.title


def test_a_baseline_that_was_logged_is_preferred() -> None:
    mine = (model(is_champion=True, metrics={"accuracy": 0.5, "baseline_accuracy": 0.31}),)
    view = models_view(mine, LedgerState((), (verdict(1),), ()), "banyan-library", EN)
    assert view.bars[-1].value == "31.0%"


def test_losses_are_lower_and_shares_are_percent() -> None:
    gpt = model("gpt", task="corpus", metrics={"bits_per_byte": 1.84, "heldout_loss": 2.9})
    view = models_view((gpt,), None, "banyan-gpt", EN)
    assert view.is_lower_better and view.champion is None
    assert [bar.value for bar in view.bars] == ["1.840"]
    assert (score(EN, "accuracy", 0.5), score(EN, "rougeL", 0.291)) == ("50.0%", "0.291")


def test_models_with_a_champion_come_first() -> None:
    assert names([model("a"), model("b", is_champion=True)]) == ["banyan-b", "banyan-a"]
    assert retrainable([model("library"), model("gpt", task="corpus")]) == ["library"]


@pytest.mark.parametrize(("low", "high"), [(0.07, 0.13), (-0.2, -0.1), (-0.01, 0.02), (0.0, 0.0)])
def test_an_interval_is_drawn_inside_its_frame_and_on_its_side_of_zero(low: float, high: float) -> None:
    shown = verdict_view(verdict(2, against=1, low=low, high=high, difference=(low + high) / 2), EN).interval
    assert 0 <= shown.low <= shown.point <= shown.high <= 1
    assert (shown.low > shown.zero) == (low > 0)
    assert (shown.high < shown.zero) == (high < 0)


def test_an_inconclusive_verdict_says_how_many_more_examples() -> None:
    shown = verdict_view(verdict(2, against=1, word="inconclusive", num_more_needed=1400), EN)
    assert (shown.state, shown.more) == ("waiting", "about 1,400 more examples would decide")


# ---------------------------------------------------------------- data, runs, feedback


def test_a_data_page_adds_up() -> None:
    view = data_view(DataState((data_version(),), ()), data_version(), EN)
    assert [tile.value for tile in view.tiles] == ["1,200", "12", "2"]
    assert view.tiles[1].note == "1.0%"
    assert [bar.label for bar in view.rejects] == ["duplicate"]
    assert view.tables[0].sources[0].note == "Apache-2.0"
    assert view.checks == "All 30 checks passed"


def test_a_version_without_checks_does_not_claim_any() -> None:
    view = data_view(DataState((data_version(),), ()), data_version(num_checks=0), EN)
    assert not view.is_checked
    assert "No validation" in view.checks


def test_a_build_that_was_kept_out_is_forgotten_once_a_newer_version_stands() -> None:
    failed = FailedBuild("poisoned", 150.0, ("labels: too many nulls",), None)
    assert failed_build(DataState((data_version(),), (failed,)), EN)
    assert failed_build(DataState((data_version(created_at=200.0),), (failed,)), EN) is None


def test_runs_to_come_are_not_shown_and_those_at_work_come_first() -> None:
    later, now = run("retrain", "SCHEDULED", at=900), run("retrain", "RUNNING", at=50)
    view = runs_view(orchestration(later, now, run("ingest", "FAILED")), EN, now=100.0)
    assert [line.text for line in view.now] == ["Retrain: library"]
    assert [line.state for line in view.recent] == ["failed"]
    assert len(view.choices) == 2


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("retrain library · 11-22 03:17", "Retrain: library · "),
        (
            "retrain library up to 684 · enough feedback · 11-22 03:17",
            "Retrain: library · up to 684 · enough feedback · ",
        ),
        ("brave-otter", "Retrain: library · brave-otter · "),
    ],
)
def test_a_run_is_told_apart_in_the_list_and_nothing_is_said_twice(name: str, shown: str) -> None:
    one = replace(run("retrain", "COMPLETED"), name=name)
    assert choice(one, EN) == shown + EN.moment(one.created_at)


def test_the_cause_of_a_failure_is_not_cut_within_a_word() -> None:
    assert reason("Flow run encountered an exception: DataError: no rows\nand more") == "DataError: no rows"
    long = reason(" ".join(["wherever"] * 40))
    assert long.endswith("wherever …") and len(long) <= 242
    assert len(reason("x" * 900)) == 242


def test_how_far_a_run_is_stands_in_the_language_of_the_page() -> None:
    wrote = "train dialogue: 10 of 75, loss 1.725, 1,156 tokens/s, 834 s left"
    assert progress(wrote, EN) == "10 of 75 · loss 1.725 · 1,156 tokens a second · 13.9 min left"
    assert progress(wrote, Words("zh")) == "10 / 75 · 损失 1.725 · 每秒 1,156 词元 · 还需 13.9 分钟"
    assert progress("rate library: 3 of 684", EN) == "3 of 684"
    assert progress("train dialogue", EN) == "train dialogue"


def test_a_run_in_a_list_says_each_thing_once_and_in_the_readers_language() -> None:
    rung = replace(run("retrain", "COMPLETED", at=50), name="retrain library up to 12 · enough feedback · 01-01 00:00")
    assert choice(rung, EN) == f"Retrain: library · up to 12 · enough feedback · {EN.moment(50)}"
    assert choice(rung, Words("zh")) == f"重新训练: library · 反馈截至 12 · 反馈已足够 · {EN.moment(50)}"
    asked = replace(rung, name="retrain library · dashboard · 01-01 00:00")
    assert choice(asked, EN) == f"Retrain: library · from the dashboard · {EN.moment(50)}"
    assert "spicy-walrus" in choice(replace(rung, name="spicy-walrus"), EN)


def test_a_retraining_that_could_not_start_is_said_before_it_is_asked_for() -> None:
    assert runs_view(orchestration(workers=0), EN, now=0).warning == "No worker is online: runs wait until one is."
    bare = replace(orchestration(), deployments=())
    assert not runs_view(bare, EN, now=0).can_retrain


def test_steps_are_drawn_against_the_longest() -> None:
    view = run_view(RunDetail((Step("build", "COMPLETED", 30.0), Step("commit", "RUNNING", 15.0)), None, ()), EN)
    assert [(bar.share, bar.value, bar.note) for bar in view.steps] == [(1.0, "30 s", ""), (0.5, "15 s", "running")]


def test_the_trigger_is_shown_as_a_share_of_its_floor() -> None:
    below = feedback_view(activity(num_pending=50), floor=200, words=EN)
    assert (below.trigger_share, below.trigger_count) == (0.25, "50 of 200 new rows")
    above = feedback_view(activity(num_pending=250), floor=200, words=EN)
    assert above.trigger_share == 1.0
    assert above.trigger_note != below.trigger_note


def test_what_was_not_measured_is_not_shown_as_nought() -> None:
    assert feedback_view(activity(corrected_now_right=None), floor=200, words=EN).effect.value == "—"
    assert feedback_view(activity(corrected_now_right=0.0), floor=200, words=EN).effect.value == "0%"


def test_tables_that_nobody_spoke_of_are_left_out() -> None:
    tables = (activity("quiet", kinds={}), activity("library"), activity("busy", kinds={"reject": 90}))
    assert [table.table for table in with_feedback(LedgerState(tables, (), ()))] == ["busy", "library"]


# ---------------------------------------------------------------- the way of a row


def fate(name: str, **details: Any) -> Fate:
    return Fate("f", 1.0, name, **details)  # type: ignore[arg-type]


def test_a_row_that_was_received_has_its_way_before_it() -> None:
    steps = fate_steps([fate("received")], EN)
    assert [step.is_done for step in steps] == [True, False, False, False]


def test_a_refused_row_ends_with_its_reason() -> None:
    steps = fate_steps([fate("received"), fate("refused", reason="in the test split")], EN)
    assert [(step.title, step.detail) for step in steps] == [("Received", ""), ("Refused", "in the test split")]
    assert steps[-1].is_refusal


def test_a_disliked_answer_that_taught_nothing_says_whether_it_is_still_given() -> None:
    by = {"model_name": "banyan-library", "model_version": 3, "reason": "thumbs-down without correction"}
    for is_given_again, said in ((True, "v3 still gives that answer"), (False, "v3 gives another answer")):
        effect = {"output_after": "x", "is_given_again": is_given_again}
        way = [fate("received"), fate("refused", reason=by["reason"]), fate("refused", effect=effect, **by)]
        [_, refused] = fate_steps(way, EN)
        assert refused.is_refusal and refused.detail.endswith(f"; asked again, {said}")
        assert refused.detail.startswith(fate_steps(way[:2], EN)[1].detail)
        [_, _, line] = history_lines({"history": [vars(step) for step in way]})
        assert f"asked again: {'the same' if is_given_again else 'another'} answer" in line


def test_a_measured_row_says_whether_it_is_right_now() -> None:
    by = {"model_name": "banyan-library", "model_version": 3}
    way = [
        fate("received"),
        fate("admitted", data_version="9ab1c2d3e4f5"),
        fate("trained", **by),
        fate("measured", effect={"score_before": 0.0, "score_after": 1.0}, **by),
    ]
    assert [step.detail for step in fate_steps(way, EN)] == [
        "", "data version 9ab1c2d3e4", "banyan-library v3", "wrong before, right now"
    ]  # fmt: skip


def test_who_can_be_asked_comes_with_classifiers_first() -> None:
    seats = [seat("summary", labels=()), seat("new", version=None, state="loading"), seat("library")]
    assert [one.table for one in answering(seats)] == ["library", "summary"]
    assert loading(seats) == ["new"]

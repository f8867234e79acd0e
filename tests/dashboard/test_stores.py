"""The one door: real stores answer with records, and every refusal is one error."""

import dataclasses
import time
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from components.ledger.actions import Actor
from components.settings import Settings
from dashboard.records import Run, StoreError
from dashboard.stores import Stores
from tests.dashboard.installation import Installation, free_port

ANA = Actor("ana@example.org", "operator")


@pytest.fixture
def stores(installation: Installation) -> Stores:
    return Stores(installation.settings)


@pytest.fixture
def lonely(tmp_path) -> Stores:
    """A fresh workspace whose services do not answer."""
    urls = {f"{name}_url": f"http://127.0.0.1:{free_port()}" for name in ("mlflow", "prefect", "gateway")}
    return Stores(Settings(BANYAN_WORKSPACE=tmp_path / "workspace", **urls))


def test_models_come_with_their_champion_metrics_and_role(stores: Stores) -> None:
    found = {(model.table, model.version): model for model in stores.models()}
    assert [key for key, model in found.items() if model.is_champion] == [("library", 3), ("summary", 1)]
    assert found["library", 2].role == "control"
    assert found["library", 3].metrics["accuracy"] == 0.573
    assert stores.card(found["library", 3]) == "# A card"


def test_a_data_version_counts_rows_sources_and_what_was_dropped(stores: Stores) -> None:
    state = stores.data()
    head = state.versions[0]
    assert head.is_head
    assert head.num_rows == sum(head.sources["library"].values()) == 96
    assert sum(head.rejects["library"].values()) == 2
    assert set(head.licences.values()) == {"BSD-3-Clause"}
    assert head.docs is not None and stores.report_pages(head.docs)


def test_a_validation_report_is_shown_without_fetching_anything(stores: Stores) -> None:
    docs = stores.data().versions[0].docs
    assert docs is not None
    page = stores.report(stores.report_pages(docs)[0])
    assert "values must be greater than or equal to" in page
    assert "<script" not in page and "<link" not in page
    with pytest.raises(StoreError, match="not readable"):
        stores.report(docs.parent / "gone.html")


def test_a_build_that_was_kept_out_says_which_check_failed(stores: Stores) -> None:
    (failed,) = stores.data().failed
    assert failed.name.startswith("poisoned-file")
    assert any("without text or label" in line for line in failed.failed)


def test_the_ledger_is_counted_by_table(stores: Stores) -> None:
    library = next(table for table in stores.ledger().tables if table.table == "library")
    assert library.num_feedback == sum(library.fates.values()) >= 60
    assert library.refusals == {"in the test split": 5}
    assert library.corrected_now_right == pytest.approx(6 / 9)


def test_pages_of_feedback_follow_each_other_without_overlap(stores: Stores) -> None:
    first = stores.feedback("library")
    second = stores.feedback("library", before=first[-1].sequence)
    assert first[-1].sequence > second[0].sequence


def test_runs_say_their_table_and_the_step_that_they_are_at(stores: Stores) -> None:
    found = stores.orchestration()
    running = next(run for run in found.runs if run.state == "RUNNING")
    assert (running.flow, running.table, found.running_steps[running.id]) == ("retrain", "library", "train")
    failed = next(run for run in found.runs if run.state == "FAILED")
    assert "loss is nan" in failed.message
    detail = stores.run(running.id)
    assert [step.name for step in detail.steps] == ["collect", "train"]
    assert [line for _, _, line in detail.log][-1].startswith("step 25 of 80")


def test_a_retraining_is_started_by_deployment_name_and_only_once_a_minute(stores: Stores) -> None:
    ids = {stores.start_retraining("summary", actor=ANA) for _ in range(2)}
    if len(ids) == 2:  # the minute turned between the two
        ids = {stores.start_retraining("summary", actor=ANA) for _ in range(2)}
    assert len(ids) == 1
    run = next(run for run in stores.orchestration().runs if run.id in ids)
    assert (run.flow, run.pool, run.table, run.by) == ("retrain", "cpu", "summary", "dashboard")


def test_a_schedule_is_told_with_its_zone_and_the_runs_that_are_planned_by_it(stores: Stores) -> None:
    deadline = time.monotonic() + 60  # Prefect plans them in a loop of its own
    while True:
        found = stores.orchestration()
        [monday] = found.schedules
        if monday.next_at or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    assert (monday.flow, monday.of, monday.cron, monday.timezone) == (
        "retrain",
        "library",
        "0 3 * * 1",
        "Asia/Shanghai",
    )
    hours = {datetime.fromtimestamp(at, ZoneInfo("Asia/Shanghai")).hour for at in monday.next_at}
    assert hours == {3} and list(monday.next_at) == sorted(monday.next_at)
    assert not [run for run in found.runs if run.created_at > time.time() + 60], "they are no runs yet"


def test_a_pool_in_which_a_run_waits_without_a_worker_is_named(stores: Stores) -> None:
    found = stores.orchestration()
    waits = [run for run in found.runs if run.pool == "gpu"]
    assert [run.flow for run in waits] == ["pretrain"] and "gpu" in found.unserved


def test_the_losses_of_a_training_at_work_come_step_by_step(stores: Stores) -> None:
    curves = {curve.name: curve.points for curve in stores.curves(since=0.0)}
    assert [step for step, _ in curves["library"]] == list(range(1, 61))
    assert stores.curves(since=time.time() + 60) == ()


def test_an_operator_cancels_a_run_and_has_it_tried_again_and_nobody_else_does(stores: Stores) -> None:
    started = stores.start_retraining("summary", actor=ANA)

    def run() -> Run:
        return next(one for one in stores.orchestration().runs if one.id == started)

    for do in (stores.cancel, stores.retry):
        with pytest.raises(StoreError, match="needs the role operator"):
            do(run(), actor=Actor("eve@example.org", "rater"))
    assert stores.cancel(run(), actor=ANA) == "Cancelled"
    assert run().state == "CANCELLED"
    assert stores.retry(run(), actor=ANA) == "AwaitingRetry"
    assert run().state == "SCHEDULED"
    assert [(row.action, row.outcome) for row in stores.actions()[:2]] == [("retry", "done"), ("cancel", "done")]


def test_the_example_of_a_table_is_a_row_of_its_own_and_else_its_task_s(stores: Stores) -> None:
    seats = {seat.table: seat for seat in stores.seats()}
    assert "Variant" in seats["library"].example, "as the table's rows are"
    assert seats["summary"].example.startswith("def add(")


def test_a_version_s_sample_is_read_from_its_card(stores: Stores, monkeypatch) -> None:
    model = stores.models()[0]
    assert stores.sample(model) == ""
    card = "# x\n\nA sample:\n\n```\ndef a():\n\n    b\n```\n\n## More\n\n```\nother\n```"
    monkeypatch.setattr(stores, "card", lambda _: card)
    assert stores.sample(model) == "def a():\n\n    b"


def test_an_answer_and_an_opinion_on_it_travel_through_the_gateway(stores: Stores) -> None:
    answered = stores.ask("library", "Paths in a graph.", actor=ANA)
    assert answered.output == "networkx"
    assert answered.receipt["version"] == 3
    first = stores.give_feedback(answered.request_id, actor=ANA, kind="approve")
    assert stores.give_feedback(answered.request_id, actor=ANA, kind="approve") == first
    assert [step.fate for step in stores.fate_of(first)] == ["received"]


def test_a_change_of_mind_is_refused_and_not_taken_for_an_outage(stores: Stores) -> None:
    answered = stores.ask("library", "Paths in a graph, again.", actor=ANA)
    stores.give_feedback(answered.request_id, actor=ANA, kind="approve")
    with pytest.raises(StoreError, match="already kept") as caught:
        stores.give_feedback(answered.request_id, actor=ANA, kind="reject")
    assert not caught.value.is_down


def test_a_question_about_a_table_that_nobody_serves_is_refused_with_the_gateways_words(stores: Stores) -> None:
    with pytest.raises(StoreError, match="no champion") as caught:
        stores.ask("poetry", "Shall I compare thee?", actor=ANA)
    assert caught.value.store == "gateway"


@pytest.mark.parametrize(
    ("store", "ask"),
    [
        ("registry", lambda stores: stores.models()),
        ("prefect", lambda stores: stores.orchestration()),
        ("prefect", lambda stores: stores.start_retraining("library", actor=ANA)),
        ("gateway", lambda stores: stores.seats()),
        ("gateway", lambda stores: stores.ask("library", "text", actor=ANA)),
    ],
)
def test_a_service_that_is_down_is_one_error_with_a_remedy(store: str, ask, lonely: Stores) -> None:
    with pytest.raises(StoreError) as caught:
        ask(lonely)
    assert caught.value.store == store
    assert caught.value.is_down
    assert "banyan status" in caught.value.remedy


def test_a_workspace_without_a_ledger_is_empty_and_stays_so(lonely: Stores) -> None:
    assert lonely.ledger().tables == ()
    assert lonely.feedback("library") == ()
    assert lonely.data().versions == ()
    assert not lonely.settings.workspace.root.exists()


def test_a_server_that_answers_in_another_form_is_an_error_too(installation: Installation) -> None:
    confused = Stores(installation.settings.model_copy(update={"gateway_url": installation.settings.prefect_url}))
    with pytest.raises(StoreError):
        confused.seats()


def test_records_cannot_be_changed(stores: Stores) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        stores.models()[0].version = 9  # type: ignore[misc]


def test_a_text_is_told_piece_by_piece_and_then_whole_with_its_receipt(stores: Stores) -> None:
    told = list(stores.stream("summary", "def add(a, b):\n    return a + b", actor=ANA))
    whole = told[-1]
    assert not isinstance(whole, str)
    assert "".join(piece for piece in told[:-1] if isinstance(piece, str)) == whole.output
    assert (whole.receipt["model"], whole.request_id) == ("banyan-summary", whole.receipt["request_id"])


def test_what_trainings_cost_comes_with_its_energy_and_where_that_is_known_from(stores: Stores) -> None:
    found = [cost for cost in stores.costs().costs if cost.stage == "train"]
    assert len(found) == 5
    assert {(cost.energy_source or "").split(":")[0] for cost in found} == {"estimate"}


def test_the_evidence_of_a_comparison_is_whole(stores: Stores) -> None:
    look = stores.looks("banyan-library")[-1]
    assert (look.model_version, look.against_version) == (3, 1)
    assert {"slices", "calibration", "seeds", "probe", "look"} <= set(look.evidence)
    version = next(model for model in stores.models() if (model.table, model.version) == ("library", 3))
    bins = stores.reliability(version)
    assert sum(one.count for one in bins) == 200
    assert all(0 <= one.confidence <= 1 and 0 <= one.score <= 1 for one in bins)

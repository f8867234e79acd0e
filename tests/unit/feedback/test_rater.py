"""The scripted rater, against a real gateway whose model is a dictionary."""

import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

import pandas as pd
import pytest
import uvicorn

from components.data.tables import write_split, write_table_info
from components.data.versioning import Manifest
from components.errors import DataError, GatewayUnavailable, NoChampion
from components.feedback import rater
from components.feedback.rater import NAME, plan, rate, replay
from components.ledger.store import Ledger
from components.recipes import Rater
from components.refs import DataRef, ModelRef
from components.serving.app import create_app, listen
from components.serving.champions import Champions
from components.settings import Settings
from components.tasks.base import Answer

LABELS = ["django", "mne", "sympy"]
REF = ModelRef(name="banyan-library", version=4, run_id="r", weights_sha256="0" * 64)


def rows(count: int) -> pd.DataFrame:
    """Row i is about LABELS[i % 3]."""
    return pd.DataFrame([{"id": f"{i:016x}", "text": f"text {i}", "label": LABELS[i % 3]} for i in range(count)])


class Guesser:
    """Right on every text but those whose number ends in 7: then it says the next label."""

    ref, task, example, labels, template_sha256 = REF, "classification", "", tuple(LABELS), "0" * 64

    def __init__(self) -> None:
        self.generation = {}

    def answer(self, texts: list[str]) -> list[Answer]:
        numbers = [int(text.split()[1]) for text in texts]
        return [Answer(LABELS[(n + (n % 10 == 7)) % 3], 1.0) for n in numbers]


@pytest.fixture
def settings(tmp_path, monkeypatch) -> Settings:
    monkeypatch.setenv("BANYAN_WORKSPACE", str(tmp_path))
    return Settings()


@pytest.fixture
def ledger(settings) -> Iterator[Ledger]:
    with Ledger(settings) as ledger:
        yield ledger


@pytest.fixture
def url(settings, ledger) -> Iterator[str]:
    champions = Champions(find=lambda: {"library": REF}, load=lambda *_: Guesser(), poll_seconds=0.01)
    sock = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(create_app(settings, champions=champions, ledger=ledger), log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
    thread.start()
    yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


def test_the_shares_are_those_of_the_recipe():
    plans = plan(Rater(table="library"), rows(3000), target="label")
    assert len(plans) == 1000
    silent = sum(not one.speaks for one in plans)
    wrong = sum(one.belief != one.truth for one in plans)
    assert 260 <= silent <= 340  # 30 % of 1,000, three standard deviations
    assert 30 <= wrong <= 72  # 5 %
    assert {one.belief for one in plans} == set(LABELS)


def test_the_plan_depends_on_the_seed_and_the_rows_alone():
    recipe = Rater(table="library", num_requests=50)
    shuffled = rows(100).sample(frac=1.0, random_state=3)
    assert plan(recipe, rows(100), target="label") == plan(recipe, shuffled, target="label")
    other = plan(recipe.model_copy(update={"seed": 1}), rows(100), target="label")
    assert {one.feedback_id for one in other}.isdisjoint(
        one.feedback_id for one in plan(recipe, rows(100), target="label")
    )


def test_a_rater_that_is_never_silent_nor_wrong_says_the_truth_of_every_row():
    recipe = Rater(table="library", silent_share=0.0, wrong_share=0.0, num_requests=90)
    assert all(one.speaks and one.belief == one.truth for one in plan(recipe, rows(90), target="label"))


def test_right_answers_are_approved_and_wrong_ones_corrected(url, ledger):
    recipe = Rater(table="library", silent_share=0.0, wrong_share=0.0, num_requests=40)
    seen = []
    plans = plan(recipe, rows(40), target="label")
    outcomes = replay(plans, table="library", gateway_url=url, progress=lambda done, of: seen.append((done, of)))
    assert Counter(outcome.kind for outcome in outcomes) == {"approve": 36, "correct": 4}
    assert {outcome.version for outcome in outcomes} == {4}
    assert seen[-1] == (40, 40)
    kept = ledger.feedback("library", limit=100)
    assert len(kept) == 40
    for row in kept:
        truth = LABELS[int(row.text.split()[1]) % 3]
        assert (row.output == truth, row.correction) == (True, None) if row.kind == "approve" else (False, truth)
        assert (row.channel, row.subject) == (NAME, ledger.pseudonym(NAME))


def test_a_silent_row_is_asked_and_leaves_an_answer_but_no_feedback(url, ledger):
    recipe = Rater(table="library", silent_share=1.0, num_requests=10)
    outcomes = replay(plan(recipe, rows(10), target="label"), table="library", gateway_url=url)
    assert {outcome.kind for outcome in outcomes} == {"silent"}
    assert sum(outcome.is_right for outcome in outcomes) == 9
    assert ledger.num_answers("library") == {("banyan-library", 4): 10}
    assert ledger.feedback("library") == []


def test_a_wrong_rater_teaches_what_it_believes(url, ledger):
    recipe = Rater(table="library", silent_share=0.0, wrong_share=1.0, num_requests=30)
    plans = plan(recipe, rows(30), target="label")
    outcomes = replay(plans, table="library", gateway_url=url)
    assert all(outcome.is_rater_wrong for outcome in outcomes)
    beliefs = {one.feedback_id: one.belief for one in plans}
    for row in ledger.feedback("library", limit=100):
        taught = row.output if row.kind == "approve" else row.correction
        assert taught == beliefs[row.feedback_id] != LABELS[int(row.text.split()[1]) % 3]


def test_a_second_run_adds_nothing(url, ledger):
    recipe = Rater(table="library", silent_share=0.0, num_requests=20)
    plans = plan(recipe, rows(20), target="label")
    replay(plans[:12], table="library", gateway_url=url)  # interrupted
    outcomes = replay(plans, table="library", gateway_url=url)
    assert Counter(outcome.kind for outcome in outcomes)["already"] == 12
    replay(plans, table="library", gateway_url=url)
    assert len(ledger.feedback("library", limit=100)) == 20
    assert sum(ledger.num_answers("library").values()) == 20


@pytest.fixture
def data(settings) -> DataRef:
    """A data version as versioning leaves it, without its DVC cache."""
    ref = DataRef(version="d" * 32, tables={"library": "t" * 64})
    folder = settings.workspace.data / "versions" / ref.version
    frame = rows(30).assign(source="s", licence="BSD", group="g", origin="provenance", imputed="")
    write_split(folder, "library", "pool", frame, task="classification")
    write_table_info(folder, "library", task="classification", labels=LABELS, licences={"s": "BSD"})
    manifest = Manifest(ref=ref, name="test", created_at=datetime.now(UTC), pointer="")
    (settings.workspace.data / "manifests").mkdir()
    (settings.workspace.data / "manifests" / f"{ref.version}.json").write_text(manifest.model_dump_json())
    (settings.workspace.data / "HEAD").write_text(ref.version)
    return ref


def test_a_rating_reports_what_was_asked_and_what_was_said(url, settings, data, ledger):
    report = rate(Rater(table="library", num_requests=25), settings=settings, gateway_url=url)
    assert report.data_version == data.version
    assert report.num_requests == 25
    assert report.num_silent + report.num_approved + report.num_corrected == 25
    assert report.versions == {4: 25}
    assert ledger.num_feedback("library") == {"approve": report.num_approved, "correct": report.num_corrected}
    again = rate(Rater(table="library", num_requests=25), settings=settings, gateway_url=url)
    assert (again.num_requests, again.num_already_rated) == (report.num_silent, 25 - report.num_silent)


def test_a_split_without_rows_is_named(url, settings, data):
    with pytest.raises(DataError, match="library has no rows in split 'reserve'"):
        rate(Rater(table="library", split="reserve"), settings=settings, gateway_url=url)


def test_without_data_there_is_nothing_to_replay(settings):
    with pytest.raises(DataError, match="no data version"):
        rate(Rater(table="library"), settings=settings, gateway_url="http://127.0.0.1:9")


def test_without_a_champion_it_stops_at_once_and_says_why(url):
    plans = plan(Rater(table="library", num_requests=3), rows(3), target="label")
    with pytest.raises(NoChampion, match="no champion for 'summary'"):
        replay(plans, table="summary", gateway_url=url)


def test_a_gateway_that_stays_away_is_an_error_that_names_it(monkeypatch):
    monkeypatch.setattr(rater, "PATIENCE_SECONDS", 0.05)
    with listen("127.0.0.1", 0) as silent:
        port = silent.getsockname()[1]
    plans = plan(Rater(table="library", num_requests=3), rows(3), target="label")
    with pytest.raises(GatewayUnavailable, match=f"no gateway at http://127.0.0.1:{port}"):
        replay(plans, table="library", gateway_url=f"http://127.0.0.1:{port}")

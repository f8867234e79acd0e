"""Empty, stale and failed are three different things on the screen."""

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dashboard import state
from dashboard.app import PAGES
from dashboard.records import Reading, StoreError
from dashboard.text import Words
from dashboard.viewmodels.shapes import notice
from tests.dashboard.conftest import Draw, words_on
from tests.dashboard.installation import Installation, free_port

Use = Callable[[dict[str, str]], None]
STYLE = Path(__file__).parents[2] / "dashboard" / "style.css"


def nowhere() -> str:
    return f"http://127.0.0.1:{free_port()}"


@pytest.fixture
def dead(environment: Use, tmp_path: Path) -> None:
    """A fresh workspace, and services that do not answer."""
    environment(
        {
            "BANYAN_WORKSPACE": str(tmp_path / "workspace"),
            "BANYAN_MLFLOW_URL": nowhere(),
            "BANYAN_PREFECT_URL": nowhere(),
            "BANYAN_GATEWAY_URL": nowhere(),
        }
    )


@pytest.mark.parametrize("page", ["models", "runs", "playground", "evolution"])
def test_a_store_that_was_never_reached_is_failed(page: str, dead: None, draw: Draw) -> None:
    shown = words_on(draw(page))
    assert "b-box s-failed" in shown
    assert "b-box s-empty" not in shown
    assert "b-box s-stale" not in shown


@pytest.mark.parametrize("page", ["data", "feedback"])
def test_a_store_with_nothing_in_it_is_empty(page: str, dead: None, draw: Draw) -> None:
    shown = words_on(draw(page))
    assert "b-box s-empty" in shown
    assert "b-box s-failed" not in shown


def test_looking_at_a_fresh_workspace_makes_nothing_in_it(dead: None, draw: Draw, tmp_path: Path) -> None:
    for page in ("ecosystem", "data", "feedback"):
        draw(page)
    assert not (tmp_path / "workspace").exists()


def test_each_station_tells_empty_from_failed(dead: None, draw: Draw) -> None:
    shown = words_on(draw("ecosystem"))
    assert "n-data s-empty" in shown
    assert "n-feedback s-empty" in shown
    assert "n-training s-failed" in shown
    assert "n-deployment s-failed" in shown


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("page", PAGES)
def test_no_page_breaks_when_nothing_answers(page: str, language: str, dead: None, draw: Draw) -> None:
    shown = words_on(draw(page, language=language))
    assert Words(language)("box.crashed") not in shown  # type: ignore[arg-type]


def test_a_store_that_stops_answering_leaves_what_it_said_marked_as_old(
    installation: Installation, environment: Use, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment(installation.environment())
    assert "57.3%" in words_on(draw("models"))

    def down(_: object) -> None:
        raise StoreError("registry", "MLflow does not answer", "banyan status")

    monkeypatch.setattr("dashboard.stores.Stores.models", down)
    monkeypatch.setattr(state, "FRESH_SECONDS", 0.0)
    monkeypatch.setattr(state, "OLD_SECONDS", 0.0)
    shown = words_on(draw("models"))
    assert "b-box s-stale" in shown
    assert "57.3%" in shown
    assert "n-training s-stale" in words_on(draw("ecosystem"))


def test_a_setting_with_a_typo_is_said_and_not_traced(environment: Use, draw: Draw) -> None:
    environment({"BANYAN_LEGDER_URL": "sqlite://"})
    shown = words_on(draw("models"))
    assert "unknown setting BANYAN_LEGDER_URL" in shown
    assert "Traceback" not in shown


def test_the_three_boxes_differ_in_more_than_colour() -> None:
    style = STYLE.read_text("utf-8")
    kinds = ("empty", "stale", "failed")
    frames = {kind: re.findall(rf"\.b-box\.s-{kind} \{{(.*?)\}}", style, re.DOTALL)[0] for kind in kinds}
    signs = {kind: re.findall(rf"\.s-{kind} \{{ --sign: (.*?)\}}", style)[0] for kind in kinds}
    assert "dashed" in frames["empty"]
    assert "repeating-linear-gradient" in frames["stale"]
    assert "border-left: 5px" in frames["failed"]
    assert len(set(signs.values())) == 3


def test_a_fresh_reading_needs_no_word() -> None:
    assert notice(Reading("ledger", 1, 0.0), Words("en")) is None


def test_old_and_missing_are_said_differently() -> None:
    problem = StoreError("prefect", "Prefect does not answer", "banyan status")
    old = notice(Reading("prefect", 1, 40.0, problem), Words("en"), now=100.0)
    missing = notice(Reading("prefect", None, 40.0, problem), Words("en"), now=100.0)
    assert old and missing
    assert (old.kind, missing.kind) == ("stale", "failed")
    assert "1 min ago" in old.title
    assert "banyan status" in missing.text


class Store:
    def __init__(self) -> None:
        self.num_asked = 0
        self.is_down = False

    def ask(self) -> int:
        self.num_asked += 1
        if self.is_down:
            raise StoreError("ledger", "down")
        return self.num_asked


def test_a_store_is_not_asked_again_while_its_answer_is_fresh() -> None:
    memory, store = state.Memory(), Store()
    assert [memory.read("q", "ledger", store.ask, fresh_seconds=60).value for _ in range(3)] == [1, 1, 1]
    memory.forget()
    assert memory.read("q", "ledger", store.ask, fresh_seconds=60).value == 2


def test_the_last_good_answer_outlives_any_number_of_failures() -> None:
    memory, store = state.Memory(), Store()
    good = memory.read("q", "ledger", store.ask, fresh_seconds=0)
    store.is_down = True
    for _ in range(3):
        reading = memory.read("q", "ledger", store.ask, fresh_seconds=0)
        assert (reading.value, reading.at, reading.is_stale) == (1, good.at, True)
    store.is_down = False
    assert not memory.read("q", "ledger", store.ask, fresh_seconds=0).is_stale


def test_a_question_that_was_never_answered_is_failed() -> None:
    memory, store = state.Memory(), Store()
    store.is_down = True
    assert memory.read("q", "ledger", store.ask, fresh_seconds=0).is_failed


def test_a_young_answer_is_shown_at_once_and_asked_for_again_behind_it() -> None:
    memory, asked = state.Memory(), threading.Event()
    slow = iter([1, 2])

    def ask() -> int:
        value = next(slow)
        if value == 2:
            assert asked.wait(10)
        return value

    def read() -> int | None:
        return memory.read("q", "ledger", ask, fresh_seconds=0, old_seconds=60).value

    assert [read(), read()] == [1, 1]  # the second did not wait for its own question
    asked.set()
    deadline = time.monotonic() + 60
    while memory.read("q", "ledger", ask, fresh_seconds=60).value != 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_was_changed_from_here_is_asked_for_before_it_is_shown() -> None:
    memory, store = state.Memory(), Store()
    assert memory.read("q", "ledger", store.ask, fresh_seconds=0, old_seconds=60).value == 1
    memory.forget()
    assert memory.read("q", "ledger", store.ask, fresh_seconds=0, old_seconds=60).value == 2

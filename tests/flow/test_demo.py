"""What `banyan demo` says before and after; the loop itself is run by the end-to-end test."""

import copy
from pathlib import Path

import pytest

from components.recipes import load_recipe
from components.settings import Settings
from flows import demo
from flows.display import RunDisplay
from flows.own import RECIPES
from flows.remote import Progress, Run, Step

FIGURES = {
    "champion_before": {"version": 1, "accuracy": 0.474, "top3": 0.74},
    "champion_after": {"version": 2, "accuracy": 0.571, "top3": 0.81},
    "baseline": {"version": "TF-IDF + logistic", "accuracy": 0.321, "top3": 0.6},
    "control": {"version": 3, "accuracy": 0.566, "top3": 0.8},
    "difference_interval": [0.061, 0.133],
    "verdict": "promote",
    "corrected_now_right": 0.62,
    "feedback": {"received": 700, "fates": {"received": 0, "refused": 35, "measured": 665}},
    "stages": {"ingest": 31.2, "pretrain": 70.0},
    "urls": {"mlflow": "http://127.0.0.1:5000"},
}


def test_the_summary_shows_every_figure_on_one_screen():
    lines = demo.summary(FIGURES, page=Path("/w/report.html"), seconds=300.0, missing=[])
    text = "\n".join(lines)
    for shown in ("47.4%", "57.1%", "32.1%", "56.6%", "+6.1%", "+13.3%", "promote", "62%", "700", "35 refused"):
        assert shown in text
    for shown in ("ingest 31", "/w/report.html", "http://127.0.0.1:5000", "The loop closed"):
        assert shown in text
    assert len(lines) <= 24 and max(map(len, lines)) <= 120


@pytest.mark.parametrize("name", ["champion_before", "champion_after", "baseline", "control", "verdict"])
def test_a_loop_with_a_part_missing_has_not_closed(name):
    figures = copy.deepcopy(FIGURES) | {name: None}
    missing = demo.unclosed(figures)
    assert len(missing) == 1
    assert "did not close" in demo.summary(figures, page=Path("r"), seconds=1.0, missing=missing)[-1]


def test_a_loop_without_feedback_has_not_closed():
    assert demo.unclosed(FIGURES | {"feedback": {"received": 0, "fates": {}}}) == ["no feedback was received"]


@pytest.mark.parametrize("verdict", ["promote", "reject", "inconclusive"])
def test_any_verdict_closes_the_loop(verdict):
    assert demo.unclosed(FIGURES | {"verdict": verdict}) == []


def test_the_downloads_are_announced_with_their_size_and_only_where_there_are_any(tmp_path):
    settings = Settings(BANYAN_WORKSPACE=tmp_path)
    recipe = load_recipe(RECIPES / "loop.yaml")
    said = "\n".join(demo.announcement(settings, recipe))
    assert "downloads 2" in said and "MB" in said and "networkx" in said and "smollm2" in said
    assert {"networkx", "shakespeare", "minilm", "smollm2"} <= set(demo.assets_of(recipe))
    assert not tmp_path.joinpath("assets").exists()


def test_without_a_terminal_a_stage_is_one_line_when_it_ends_and_a_long_one_says_how_far_it_is(capsys, monkeypatch):
    monkeypatch.setattr("flows.display.SAY_SECONDS", 0.0)
    half = Run(
        "i", "n", "RUNNING", "", 2.0, steps=(Step("ingest", "COMPLETED", 31.0), Step("pretrain", "RUNNING", 2.0))
    )
    far = Run("i", "n", "RUNNING", "", 3.0, steps=half.steps, progress=Progress(40.0, "60 of 150, 9 s left"))
    with RunDisplay("loop") as display:
        display.see(half)
        display.see(far)
        display.see(far)
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if "ingest" in line] == ["  ingest                         31.0 s"]
    assert "  … 60 of 150, 9 s left" in lines


def test_json_output_leaves_the_screen_alone(capsys):
    with RunDisplay("loop", quiet=True) as display:
        display.see(Run("i", "n", "RUNNING", "", 1.0, steps=(Step("ingest", "COMPLETED", 1.0),)))
    assert capsys.readouterr() == ("", "")

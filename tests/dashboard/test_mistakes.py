"""A version's worst answers, and its figures on files: from what was kept to the page."""

import json

import pandas as pd
import pytest

from components.data.tables import columns, write_split, write_table_info
from components.settings import Settings
from dashboard.measured_rows import measured_rows, on_files
from dashboard.stores import Stores
from dashboard.text import Words
from dashboard.viewmodels.mistakes import MOST_ROWS, file_rows, mistakes_view, slices_of
from tests.dashboard.conftest import words_on
from tests.dashboard.test_viewmodels import model

EN, ZH = Words("en"), Words("zh")
VERSION = "c" * 32


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """A workspace with 120 test rows of two labels."""
    monkeypatch.setenv("BANYAN_WORKSPACE", str(tmp_path))
    folder = Settings().workspace.data / "versions" / VERSION
    rows = [
        dict.fromkeys(columns("classification"), "")
        | {"id": f"{i:03d}", "text": f"write to <EMAIL> about case {i}", "label": "ab"[i % 2]}
        for i in range(120)
    ]
    write_split(folder, "library", "test", pd.DataFrame(rows), task="classification")
    write_table_info(folder, "library", task="classification", labels=("a", "b"), licences={})
    return Settings()


def kept(settings, wrong=range(0, 60, 2)):
    """Rows as the dashboard reads them: of label `a` those in `wrong` are not right, the later the surer."""
    scores = [
        {"id": f"{i:03d}", "prediction": "b" if i in wrong else "ab"[i % 2], "target": "ab"[i % 2],
         "score": float(i not in wrong), "confidence": 0.3 + i / 200}
        for i in range(120)
    ]  # fmt: skip
    shown = model(tags={"banyan.data_version": VERSION}, recipe={"table": "library"})
    return measured_rows(pd.DataFrame(scores), shown, settings=settings)


def test_the_worst_and_surest_come_first_with_the_text_as_it_was_stored(settings):
    rows = kept(settings)
    assert len(rows) == 120
    assert (rows[0].text, rows[0].target, rows[0].prediction) == ("write to <EMAIL> about case 58", "a", "b")
    assert [row.score for row in rows] == [0.0] * 30 + [1.0] * 90
    assert "label: a" in rows[0].slices


def test_rows_are_narrowed_to_a_slice_and_to_errors(settings):
    rows = kept(settings)
    names = slices_of(rows, EN)
    assert names["label: a"] == "label a · 60 rows"
    assert list(names).index("label: a") < list(names).index("label: b")  # the worse one first
    assert len(mistakes_view(rows, "accuracy", EN).rows) == 30
    assert mistakes_view(rows, "accuracy", EN, inside="label: b").rows == ()
    inside = mistakes_view(rows, "accuracy", EN, inside="label: a", only_errors=False)
    assert (len(inside.rows), inside.told) == (60, "30 of 60 rows are not wholly right; 60 are shown.")
    everything = mistakes_view(rows, "accuracy", ZH, only_errors=False)
    assert (len(everything.rows), everything.has_texts) == (MOST_ROWS, True)


def test_scores_are_shown_where_the_texts_are_not_on_this_machine(settings, tmp_path):
    elsewhere = settings.model_copy(update={"workspace_dir": tmp_path / "elsewhere"})
    scores = pd.DataFrame([{"id": "1", "prediction": "x", "target": "y", "score": 0.4}])
    shown = model(tags={"banyan.data_version": "f" * 32}, recipe={})
    [row] = rows = measured_rows(scores, shown, settings=elsewhere)
    assert (row.text, row.score, row.confidence, row.slices) == ("", 0.4, None, frozenset())
    assert not mistakes_view(rows, "rougeL", EN).has_texts


def result(version=2, **more):
    return {
        "model": "banyan-library", "version": version, "file": "somewhere/else.csv", "num_rows": 80,
        "metrics": {"accuracy": 0.5}, "intervals": {"accuracy": [0.4, 0.6]}, "baseline": {"accuracy": 0.25}, **more,
    }  # fmt: skip


def keep(settings, folder, content):
    path = settings.workspace.root / "evaluations" / "classification" / folder / "result.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content))


def test_evaluations_on_files_are_listed_with_baseline_and_champion(settings):
    keep(settings, "banyan-library-v2-abc", result(champion={"version": 1, "metrics": {"accuracy": 0.4}}))
    keep(settings, "banyan-library-v1-abc", result(version=1, baseline=None))
    keep(settings, "banyan-library-v2x-v1-abc", result(model="banyan-library-v2x"))
    found = {row.version: row for row in file_rows(on_files(model(), settings=settings), EN)}
    assert set(found) == {"v1", "v2"}
    second = found["v2"]
    assert (second.file, second.value, second.interval) == ("else.csv", "50.0%", "40.0% – 60.0%")
    assert (second.champion, second.baseline) == ("40.0% (v1)", "25.0%")
    assert (found["v1"].champion, found["v1"].baseline) == ("", "")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_models_page_reads_rows_only_when_they_are_asked_for(
    installation, environment, draw, language, monkeypatch
):
    say, asked = Words(language), []
    environment(installation.environment())
    read = Stores.rows_measured
    monkeypatch.setattr(Stores, "rows_measured", lambda self, shown: asked.append(shown) or read(self, shown))
    test = draw("models", language=language)
    assert say("mistakes.title") in words_on(test)
    toggle = next(one for one in test.toggle if one.label == say("mistakes.open"))
    before = len(test.dataframe)
    assert not asked
    toggle.set_value(True).run()
    assert not test.exception
    assert asked
    assert len(test.dataframe) == before + 1
    [rows] = [one.value for one in test.dataframe if say("mistakes.column.text") in one.value]
    assert rows[say("mistakes.column.text")].str.contains("Test row").all()
    assert set(rows[say("mistakes.column.score")]) == {"0"}
    chosen = next(one for one in test.selectbox if one.label == say("mistakes.slice"))
    chosen.set_value("label: mne").run()
    [rows] = [one.value for one in test.dataframe if say("mistakes.column.text") in one.value]
    assert set(rows[say("mistakes.column.target")]) == {"mne"}

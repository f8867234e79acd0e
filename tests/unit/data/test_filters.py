import json

import pandas as pd
import pytest

from components.data import build, tables
from components.data.cleaning import Row
from components.data.filters import apply_rules, read_benchmarks, statistics
from components.errors import InputFileError
from components.recipes import TextRules


def _rows(*texts: str) -> list[Row]:
    return [Row(text, "x", "s", "l", "g", id=str(number)) for number, text in enumerate(texts)]


def test_without_rules_nothing_is_changed_or_dropped():
    rows = _rows("ＡＢＣ", "Das ist nicht von mir.", "x")
    assert apply_rules(rows, TextRules()) == {}
    assert [(row.text, row.reason) for row in rows] == [("ＡＢＣ", ""), ("Das ist nicht von mir.", ""), ("x", "")]


def test_only_the_languages_asked_for_are_kept_and_the_reason_names_the_other():
    rows = _rows("The parcel is on the way to you.", "Das Paket ist nicht da.", "包裹还没有到。", "12345")
    apply_rules(rows, TextRules(languages=("en", "zh")))
    assert [row.reason for row in rows] == ["", "another language: de", "", "another language: und"]


def test_characters_are_made_plain_and_lines_stay():
    rows = _rows("ＡＢＣ　ｄｅ\nﬁne")
    assert apply_rules(rows, TextRules(compatible_characters=True)) == {"normalised": 1}
    assert rows[0].text == "ABC de\nfine"


def test_a_blocked_word_drops_without_the_other_rules_of_c4(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("Rude\n")
    rows = _rows("a rude {text}", "a {text}")
    apply_rules(rows, TextRules(blocked_words=path))
    assert [row.reason for row in rows] == ["C4, blocked word", ""]
    with pytest.raises(InputFileError, match="cannot be read"):
        apply_rules(rows, TextRules(blocked_words=tmp_path / "absent"))


def test_benchmarks_are_read_from_lines_and_from_json(tmp_path):
    (tmp_path / "a.txt").write_text("one\n\ntwo\n")
    (tmp_path / "b.jsonl").write_text(json.dumps({"q": "three", "a": ["four", {"x": "five"}], "n": 1}) + "\n")
    assert sorted(read_benchmarks([tmp_path / "a.txt", tmp_path / "b.jsonl"])) == [
        "five",
        "four",
        "one",
        "three",
        "two",
    ]
    (tmp_path / "c.jsonl").write_text("{")
    with pytest.raises(InputFileError, match="line 1, is not JSON"):
        read_benchmarks([tmp_path / "c.jsonl"])


def test_statistics_say_of_each_source_what_it_brought():
    rows = _rows("The parcel is on the way.", "包裹还没有到。")
    rows[1].source = "t"
    rows.append(Row("gone", "", "s", "l", "g", reason="too short"))
    found = statistics(rows)
    assert found["s"] == {
        "rows": 2, "kept": 1, "kept_share": 0.5, "chars": 25, "words": 6, "mean_words": 6.0, "language en": 1.0,
    }  # fmt: skip
    assert found["t"]["language zh"] == 1.0


def test_an_own_table_is_filtered_by_its_recipe_and_every_reject_says_why(settings, own, jsonl, rows, tmp_path):
    benchmark = tmp_path / "benchmark.txt"
    benchmark.write_text(rows[0]["text"] + "\n")
    german = [{"text": f"Das Paket {number} ist nicht bei mir angekommen.", "label": "metal"} for number in range(5)]
    rules = TextRules(languages=("en",), decontaminate=(benchmark,), decontaminate_words=5)
    report = build.build(own(jsonl(rows + german), rules=rules), settings=settings)
    rejects = pd.read_parquet(report.rejects_path)
    assert report.rejects["things"]["another language"] == 5
    assert report.rejects["things"]["piece of a benchmark"] == 1
    assert set(rejects.loc[rejects["reason"] == "another language: de", "text"]) == {row["text"] for row in german}
    assert sum(report.rows["things"].values()) + sum(report.rejects["things"].values()) == len(rows) + 5
    assert report.statistics["things"]["things"]["rows"] == len(rows) + 5


def test_a_row_that_was_measured_by_is_never_trained_on_when_the_file_grows(settings, own, jsonl, rows):
    first = build.build(own(jsonl(rows[::2], "few.jsonl")), settings=settings).staging_dir
    measured = set(tables.read_split(first, "things", "test")["id"])
    second = build.build(own(jsonl(rows, "many.jsonl")).model_copy(update={"seed": 7}), settings=settings, base=first)
    train = set(tables.read_split(second.staging_dir, "things", "train")["id"])
    assert measured
    assert train.isdisjoint(measured)

import json

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.data import build, expectations, tables, validation
from components.data.expectations import Expectation
from components.data.validation import validate
from components.errors import CheckBroken, ValidationFailed
from components.recipes import RejectLimits


@pytest.fixture
def staging(settings, own, jsonl):
    """A sound table `things`, built and not yet a version."""
    return build.build(own(jsonl()), settings=settings).staging_dir


def _change(staging, split: str, change) -> None:
    """Rewrite a split's file with what `change` makes of its frame, whatever that is."""
    path = staging / "things" / f"{split}.parquet"
    frame = change(pq.read_table(path).to_pandas())
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path)


def _failure(staging, settings, **how) -> str:
    with pytest.raises(ValidationFailed) as caught:
        validate(staging, workspace=settings.workspace, **how)
    report = json.loads((staging.parent / "validation.json").read_text())
    assert not report["success"]
    assert report["docs"] in caught.value.message
    assert "last good version stands" in caught.value.remedy
    return "; ".join(check["meaning"] for check in report["checks"] if not check["success"])


def test_sound_data_passes_and_the_data_docs_are_kept(staging, settings):
    report = validate(staging, workspace=settings.workspace)
    assert report.success
    assert len(report.checks) > 20
    page = (settings.workspace.data / "docs" / staging.parent.name / "index.html").read_text()
    assert "things" in page
    assert list((settings.workspace.data / "docs").rglob("validations/**/*.html"))
    pages = (settings.workspace.data / "docs").rglob("*.html")
    assert any("no text on both sides of the measurement" in path.read_text() for path in pages)


def _set(column: str, row: int, value: object):
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        frame[column] = frame[column].astype(object)
        frame.loc[row, column] = value
        return frame

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda frame: frame.drop(columns="licence"), "the columns of a classification table"),
        (lambda frame: frame.assign(extra="x"), "the columns of a classification table"),
        (lambda frame: frame.rename(columns={"label": "Label"}), "the columns of a classification table"),
        (lambda frame: frame.assign(label=1), "every column is text"),
        (_set("text", 0, None), "every row has a text (nulls)"),
        (_set("label", 0, None), "every row has a label (nulls)"),
        (_set("label", 0, ""), "no empty label"),
        (_set("label", 0, "wood"), "only the table's labels"),
        (_set("origin", 0, "rumour"), "a known origin"),
        (_set("id", 0, "0" * 16), "the id is the text's hash"),
        (lambda frame: pd.concat([frame, frame.head(3)]), "a text is in a split once (duplicates)"),
        (
            lambda frame: pd.concat([frame, frame.head(3).assign(label="metal"), frame.head(3).assign(label="fruit")]),
            "one answer a text (conflicting labels)",
        ),
        (lambda frame: frame[frame["label"] == "fruit"], "each label can be learned and measured"),
    ],
)
def test_a_poisoned_table_is_stopped_with_a_report_that_says_what_it_is(staging, settings, change, says):
    _change(staging, "train", change)
    assert says in _failure(staging, settings)


def test_a_file_that_is_no_parquet_is_bad_data_and_not_a_broken_check(staging, settings):
    (staging / "things" / "train.parquet").write_bytes(b"nonsense")
    assert "every column is text" in _failure(staging, settings)


def test_a_table_without_a_test_split_is_stopped(staging, settings):
    (staging / "things" / "test.parquet").unlink()
    assert "something to measure by" in _failure(staging, settings)


def test_an_unknown_split_is_stopped(staging, settings):
    (staging / "things" / "train.parquet").rename(staging / "things" / "training.parquet")
    assert "only known splits" in _failure(staging, settings)


def test_a_text_on_both_sides_of_the_measurement_is_stopped(staging, settings):
    test = tables.read_split(staging, "things", "test")
    _change(staging, "train", lambda frame: pd.concat([frame, test.head(1).assign(group="elsewhere")]))
    assert _failure(staging, settings) == "no text on both sides of the measurement (leak by content)"


def test_a_source_file_on_both_sides_of_the_measurement_is_stopped(staging, settings):
    group = tables.read_split(staging, "things", "test")["group"][0]
    _change(staging, "train", _set("group", 0, group))
    assert _failure(staging, settings) == "no source file on both sides of the measurement (leak by file)"


def test_a_test_split_that_moved_since_the_version_before_is_stopped(staging, settings, own, jsonl, rows):
    before = build.build(own(jsonl(rows[:-10], "fewer.jsonl")), settings=settings).staging_dir
    assert _failure(staging, settings, previous=before) == "measured on the same rows as before"
    assert validate(staging, workspace=settings.workspace, previous=staging).success


def test_a_check_that_raises_is_not_taken_for_bad_data(staging, settings, monkeypatch):
    sound = expectations.rows_batch

    def broken(*arguments):
        batch = sound(*arguments)
        absent = Expectation("ExpectColumnValuesToNotBeNull", {"column": "absent"}, "a column that is not there")
        return expectations.Batch(batch.name, batch.frame, (*batch.expectations, absent))

    monkeypatch.setattr(validation.expectations, "rows_batch", broken)
    with pytest.raises(CheckBroken, match=r'expect_column_values_to_not_be_null.*column "absent"') as caught:
        validate(staging, workspace=settings.workspace)
    assert "nothing about the data" in caught.value.remedy


def test_a_file_whose_body_is_damaged_is_bad_data_and_not_a_broken_check(staging, settings):
    path = staging / "things" / "train.parquet"
    content = bytearray(path.read_bytes())
    content[4:200] = bytes(196)  # the footer, with the schema, is whole
    path.write_bytes(content)
    assert "every file can be read to its end" in _failure(staging, settings)


def test_drift_is_shown_and_stops_nothing_unless_a_limit_says_so(staging, settings, own, jsonl, rows):
    shifted = [row for row in rows if row["label"] == "fruit"] + [row for row in rows if row["label"] == "metal"][:6]
    before = build.build(own(jsonl(shifted, "before.jsonl")), settings=settings).staging_dir
    report = validate(staging, workspace=settings.workspace, accepted=before)
    assert report.success
    assert [check.batch for check in report.warnings] == ["things drift"]
    says = _failure(staging, settings, accepted=before, limits=RejectLimits(drift=0.2))
    assert says == "labels, sources, languages and lengths as in the last accepted version (drift)"
    assert not validate(staging, workspace=settings.workspace, accepted=staging).warnings


def test_an_unbroken_table_is_not_called_bad_when_our_own_measure_raises(staging, settings, monkeypatch):
    def broken(*_, **__):
        raise KeyError("no such thing")

    monkeypatch.setattr(validation.expectations, "drift_batch", broken)
    with pytest.raises(CheckBroken, match="no such thing") as caught:
        validate(staging, workspace=settings.workspace, accepted=staging)
    assert "nothing about the data" in caught.value.remedy


def test_a_table_in_another_language_than_was_asked_for_does_not_pass(staging, settings):
    assert validate(staging, workspace=settings.workspace, limits=RejectLimits(languages={"en": 0.5})).success
    said = _failure(staging, settings, limits=RejectLimits(languages={"de": 0.5}))
    assert said == "at least 50% of the texts are in de (language mix)"


def test_a_text_to_measure_by_that_nearly_stands_in_the_training_rows_does_not_pass(staging, settings):
    limits = RejectLimits(leak_similarity=0.7)
    long = " ".join(f"word{number}" for number in range(30))

    def put(text: str):
        def change(frame: pd.DataFrame) -> pd.DataFrame:
            frame.loc[0, ["text", "id"]] = [text, tables.content_id(text)]
            return frame

        return change

    _change(staging, "test", put(f"{long} end"))
    assert validate(staging, workspace=settings.workspace, limits=limits).success
    _change(staging, "train", put(f"{long} stop"))
    assert "near-duplicate leak" in _failure(staging, settings, limits=limits)
    assert validate(staging, workspace=settings.workspace, limits=limits, made=()).success  # carried over as it was

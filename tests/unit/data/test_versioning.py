import shutil

import pandas as pd
import pytest

from components.data import tables, versioning
from components.errors import DataStoreError, InputFileError, MappingError, ValidationFailed


def _left_behind(settings) -> list[str]:
    return [path.name for path in (settings.workspace.data / "staging").glob("*")]


@pytest.fixture
def version(settings, one_version):
    """An installation with one version: a copy of one that was made once, and its HEAD."""
    shutil.copytree(one_version, settings.workspace.root)
    return versioning.head(settings)


def _feedback(settings, ref, *texts: str, label: str = "fruit") -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "id": tables.content_id(text),
                "text": text,
                "label": label,
                "source": "feedback",
                "licence": "unstated",
                "group": f"feedback/{tables.content_id(text)}",
                "origin": "feedback",
                "imputed": "",
            }
            for text in texts
        ]
    )


def test_there_is_no_version_before_the_first_ingest(settings):
    assert versioning.head(settings) is None
    assert versioning.versions(settings) == []


def test_a_version_is_a_read_only_folder_with_a_manifest_that_says_where_it_came_from(settings, version):
    assert versioning.head(settings) == version
    folder = versioning.path_of(version, settings)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    assert all(path.stat().st_mode & 0o222 == 0 for path in files)
    [manifest] = versioning.versions(settings)
    assert manifest.ref == version
    assert manifest.recipe["name"] == "own"
    assert manifest.parent is None
    assert manifest.rows["things"]["train"].labels.keys() == {"fruit", "metal"}
    total = sum(split.total for split in manifest.rows["things"].values())
    assert total + sum(manifest.rejects["things"].values()) == 144
    assert len(pd.read_parquet(manifest.rejects_file)) == sum(manifest.rejects["things"].values())
    assert version.version in versioning.pointer(version, settings)
    assert _left_behind(settings) == []


def test_the_same_data_is_the_same_version_and_the_first_manifest_stays(settings, version, own, jsonl, rows):
    before = versioning.versions(settings)
    assert versioning.ingest(own(jsonl(rows[::-1])), settings=settings) == version
    assert versioning.versions(settings) == before


def test_a_lost_checkout_and_cache_come_back_from_the_remote(settings, version):
    folder = versioning.path_of(version, settings)
    before = tables.table_sha256(folder, "things")
    shutil.rmtree(folder)
    shutil.rmtree(settings.workspace.data / "repo")
    assert tables.table_sha256(versioning.path_of(version, settings), "things") == before


def test_a_version_that_the_remote_does_not_hold_whole_is_an_error_and_not_a_half_folder(settings, version):
    shutil.rmtree(versioning.path_of(version, settings))
    shutil.rmtree(settings.workspace.data / "repo")
    [lost, *_] = [path for path in settings.workspace.remote.rglob("*") if path.is_file() and path.suffix != ".dir"]
    lost.unlink()
    with pytest.raises(DataStoreError, match="dvc pull failed"):
        versioning.path_of(version, settings)
    assert list((settings.workspace.data / "versions").iterdir()) == []


def test_an_unknown_version_is_named(settings, version):
    other = version.model_copy(update={"version": "0" * 32})
    with pytest.raises(DataStoreError, match="no data version 0000"):
        versioning.path_of(other, settings)


def test_an_own_file_adds_its_table_and_keeps_the_others(settings, version, own, jsonl, rows):
    second = versioning.ingest(own(jsonl(rows[10:], "b.jsonl"), table="others"), settings=settings)
    assert second.tables["things"] == version.tables["things"]
    assert set(second.tables) == {"things", "others"}
    assert versioning.versions(settings)[0].parent == version.version


@pytest.mark.parametrize(
    ("poison", "says"),
    [
        (lambda rows: rows[::2] + [row | {"label": None} for row in rows[1::2]], "nulls"),
        (lambda rows: rows + rows + rows, "duplicates"),
        (lambda rows: rows + [row | {"label": "metal"} for row in rows[:40]], "conflicting labels"),
        (
            lambda rows: [row | {"label": "wood"} if index % 2 else row for index, row in enumerate(rows)],
            "unknown label",
        ),
    ],
)
def test_a_poisoned_batch_stops_with_a_report_and_the_last_good_version_stands(
    settings, version, own, jsonl, rows, poison, says
):
    recipe = own(jsonl(poison(rows), "poisoned.jsonl"), labels=("fruit", "metal"))
    with pytest.raises(ValidationFailed, match=f"of the raw rows .*{says}") as caught:
        versioning.ingest(recipe, settings=settings)
    assert versioning.head(settings) == version
    [failed] = (settings.workspace.data / "failed").iterdir()
    assert str(failed) in caught.value.message
    assert (failed / "validation.json").is_file()
    assert (failed / "rejects.parquet").is_file()
    assert (settings.workspace.data / "docs" / failed.name / "index.html").is_file()
    assert _left_behind(settings) == []
    assert len(versioning.versions(settings)) == 1


def test_a_file_of_another_schema_stops_before_anything_is_written(settings, version, own, jsonl):
    with pytest.raises(MappingError, match="no column 'text'"):
        versioning.ingest(own(jsonl([{"body": "a", "label": "x"}], "other.jsonl")), settings=settings)
    with pytest.raises(InputFileError, match="there is no file"):
        versioning.ingest(own(settings.workspace.root / "nothing.csv"), settings=settings)
    assert versioning.head(settings) == version
    assert _left_behind(settings) == []


def test_a_table_of_one_label_or_of_too_few_rows_says_so(settings, own, jsonl, rows):
    with pytest.raises(MappingError, match=r"1 usable label\(s\) of 72 rows: fruit"):
        versioning.ingest(own(jsonl(rows[:72])), settings=settings)
    with pytest.raises(MappingError, match="0 usable label"):
        versioning.ingest(own(jsonl([rows[0], rows[-1]])), settings=settings)
    assert versioning.head(settings) is None
    assert _left_behind(settings) == []


def test_admitted_feedback_is_a_new_version_and_nothing_else_changes(settings, version):
    rows = _feedback(settings, version, "a new fruit appears", "another one grows")
    second = versioning.admit(rows.iloc[::-1], table="things", settings=settings)
    folder, before = versioning.path_of(second, settings), versioning.path_of(version, settings)
    assert sorted(tables.read_split(folder, "things", "feedback")["id"]) == sorted(rows["id"])
    for split in ("train", "test"):
        assert tables.read_split(folder, "things", split).equals(tables.read_split(before, "things", split))
    assert tables.read_split(before, "things", "feedback").empty
    assert versioning.admit(rows, table="things", settings=settings) == second
    assert versioning.admit(rows.head(0), table="things", settings=settings) == version
    assert versioning.head(settings) == version


def test_feedback_may_repeat_a_pool_or_training_text_but_never_a_test_one(settings, version):
    folder = versioning.path_of(version, settings)
    trained = tables.read_split(folder, "things", "train").head(1).assign(origin="feedback")
    versioning.admit(trained, table="things", settings=settings)
    measured = tables.read_split(folder, "things", "test").head(1).assign(origin="feedback", group="feedback/1")
    with pytest.raises(ValidationFailed, match="leak by content"):
        versioning.admit(measured, table="things", settings=settings)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda rows: rows.drop(columns="origin"), "the columns of a classification table"),
        (lambda rows: rows.assign(text=None), "every"),
        (lambda rows: pd.concat([rows, rows]), "duplicates"),
        (lambda rows: pd.concat([rows, rows.assign(label="metal")]), "duplicates|conflicting"),
        (lambda rows: rows.assign(label="wood"), "only the table's labels"),
    ],
)
def test_poisoned_feedback_stops_and_the_last_good_version_stands(settings, version, change, says):
    rows = change(_feedback(settings, version, "a new fruit appears", "another one grows"))
    with pytest.raises(ValidationFailed, match=says):
        versioning.admit(rows, table="things", settings=settings)
    assert versioning.head(settings) == version
    assert _left_behind(settings) == []


def test_feedback_without_a_version_or_for_an_unknown_table_says_what_to_do(settings):
    with pytest.raises(DataStoreError, match="no data version to add feedback to — ingest first"):
        versioning.admit(pd.DataFrame(), table="things", settings=settings)


def test_personal_data_is_masked_in_rows_and_in_rejects(settings, own, jsonl, rows):
    mailed = [row | {"text": f"{row['text']} says ann{index}@mail.example.org"} for index, row in enumerate(rows)]
    mailed.append({"text": "no label but bob@mail.example.org", "label": ""})
    version = versioning.ingest(own(jsonl(mailed)), settings=settings)
    folder = versioning.path_of(version, settings)
    texts = [text for split in ("train", "test") for text in tables.read_split(folder, "things", split)["text"]]
    assert all("[EMAIL_1]" in text and "@" not in text for text in texts)
    [manifest] = versioning.versions(settings)
    assert not pd.read_parquet(manifest.rejects_file)["text"].str.contains("@").any()
    assert manifest.changed["things"]["masked"] == len(rows)


def test_the_same_input_again_changes_nothing_even_beside_feedback(settings, version, own, jsonl):
    rows = _feedback(settings, version, "a new fruit appears")
    second = versioning.admit(rows, table="things", settings=settings)
    said: list[str] = []
    assert versioning.ingest(own(jsonl()), settings=settings, progress=said.append) == second
    assert versioning.head(settings) == second
    assert any("nothing has changed" in line for line in said)
    assert _left_behind(settings) == []

"""`banyan data`: what it prints is what the versions are; a mistake is one line and exit code 2."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from components.data import tables, versioning
from components.errors import UsageError
from components.recipes import FileSource, Ingest
from components.settings import Settings
from flows.cli import app


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    """A workspace with two versions: an ingest with some rejects, and the same rows with six fewer."""
    folder = tmp_path_factory.mktemp("data")
    lines = [f"the {name} lies at place {i},{name}" for i in range(40) for name in ("stone", "river")]
    (folder / "things.csv").write_text("\n".join(["text,label", *lines, "a row,with,too much", ",stone", ""]), "utf-8")
    source = FileSource(path=folder / "things.csv", table="things", task="classification")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BANYAN_WORKSPACE", str(folder / "workspace"))
        settings = Settings()
        ref = versioning.ingest(Ingest(name="own", sources=(source,)), settings=settings)
        shutil.copytree(versioning.path_of(ref, settings), folder / "data", copy_function=shutil.copyfile)
        rows = tables.read_split(folder / "data", "things", "train")
        tables.write_split(folder / "data", "things", "train", rows[6:], task="classification")
        versioning.commit(folder / "data", settings=settings, note={"name": "fewer"})
    return folder / "workspace"


@pytest.fixture
def banyan(workspace, tmp_path, monkeypatch):
    """Runs a `banyan data` command in a copy of the workspace; its output."""
    shutil.copytree(workspace, tmp_path / "workspace")
    monkeypatch.setenv("BANYAN_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> str:
        return CliRunner().invoke(app, ["data", *arguments], catch_exceptions=False).output

    return run


def test_the_log_is_newest_first_and_says_what_changed(banyan):
    found = json.loads(banyan("log", "--json"))["versions"]
    assert [one["name"] for one in found] == ["fewer", "own"]
    assert [one["head"] for one in found] == [True, False]
    assert found[0]["changes"] == ["things changed: -6 rows"]
    text = banyan("log")
    assert text.splitlines()[0].startswith(found[0]["version"][:12]) and "(HEAD)" in text.splitlines()[0]
    assert "things changed: -6 rows" in text


def test_a_version_is_shown_with_its_rejects_and_how_it_was_read(banyan):
    old = json.loads(banyan("log", "--json"))["versions"][1]["version"]
    about = json.loads(banyan("show", old[:8], "--json"))
    assert about["rejects"]["things"] == {"malformed row": 1, "no text": 1}
    assert about["inputs"]["things"]["num_rows"] == 82
    assert about["inputs"]["things"]["encodings"] == {"utf-8": 1}
    text = banyan("show", old[:8])
    assert "rejected: 1 malformed row, 1 no text" in text and "40 river, 40 stone" in text


SPLITS = ("train", "test")


class Says:
    """A registered classifier, which the registry of another part would give."""

    model = "banyan-places@3"

    def __call__(self, texts):
        return ["river" if "river" in text else "stone" for text in texts]


def test_what_was_filled_in_is_told_with_the_model_that_said_it_also_after_the_next_version(banyan, tmp_path):
    settings = Settings()
    old = versioning.head(settings)
    lines = [
        f"the {name} lies at place {i},{name if i < 30 else ''}" for i in range(5, 60) for name in ("stone", "river")
    ]
    (tmp_path / "things.csv").write_text("\n".join(["text,label", *lines, ""]), "utf-8")
    source = FileSource(
        path=tmp_path / "things.csv", table="things", task="classification",
        missing={"label": "model=banyan-places", "source": "constant"},
    )  # fmt: skip
    ref = versioning.ingest(Ingest(name="own", sources=(source,)), settings=settings, models=lambda which, task: Says())
    rows = tables.read_split(versioning.path_of(ref, settings), "things", "train")
    filled = int((rows["imputed"] == "label,source").sum())
    assert filled > 5
    told = f"{filled} rows with a label filled in: banyan-places@3"
    assert told in banyan("show")
    total = sum(versioning.manifest(ref.version, settings=settings).rows["things"][split].total for split in SPLITS)
    assert f"{total} rows with a source filled in: constant" in banyan("show")
    found = json.loads(banyan("diff", old.version, "HEAD", "--json"))["tables"]["things"]
    there = {
        row_id
        for split in SPLITS
        for row_id in tables.read_split(versioning.path_of(old, settings), "things", split)["id"]
    }
    num_new = int((rows["imputed"].eq("label,source") & ~rows["id"].isin(there)).sum())
    assert found["added"]["imputed"] == {"label": num_new, "source": found["added"]["total"]}
    assert "by column that was filled in" in banyan("diff", old.version, "HEAD")
    feedback = rows.head(1).assign(text="a stone nobody saw", origin="feedback", imputed="", id="f" * 16)
    feedback["id"] = [tables.content_id(text) for text in feedback["text"]]
    versioning.admit(feedback, table="things", settings=settings)
    assert told in banyan("show")


def test_a_difference_is_told_by_split_source_and_label(banyan):
    old = json.loads(banyan("log", "--json"))["versions"][1]["version"]
    found = json.loads(banyan("diff", old, "--json"))["tables"]["things"]
    assert (found["removed"]["total"], found["added"]["total"], found["same"]) == (6, 0, 74)
    assert found["removed"]["splits"] == {"train": 6} and sum(found["removed"]["labels"].values()) == 6
    assert "6 removed; by split: 6 train" in banyan("diff", old, "HEAD")
    assert "no table differs" in banyan("diff", "HEAD")


def test_files_and_pointer_of_a_version_can_be_taken_out(banyan, tmp_path):
    old = json.loads(banyan("log", "--json"))["versions"][1]["version"]
    banyan("checkout", old[:10], "out")
    assert (tmp_path / "out" / "things" / "train.parquet").is_file()
    assert f"md5: {old}.dir" in banyan("export", old)
    banyan("export", old, "--to", "data.dvc")
    assert (tmp_path / "data.dvc").read_text("utf-8") == json.loads(banyan("export", old, "--json"))["pointer"]


def test_nothing_is_removed_while_nobody_can_say_whether_a_model_needs_it(banyan):
    old = json.loads(banyan("log", "--json"))["versions"][1]["version"]
    with pytest.raises(UsageError, match="cannot be told"):
        banyan("rm", old)
    assert json.loads(banyan("rm", old, "--force", "--json"))["freed_bytes"] > 0
    assert [one["version"] == old for one in json.loads(banyan("log", "--json"))["versions"]] == [False]


def test_a_version_that_a_model_names_is_kept(banyan, monkeypatch):
    from types import SimpleNamespace

    from components import registry, supervisor

    old = json.loads(banyan("log", "--json"))["versions"][1]["version"]

    class Models:
        def __init__(self, url: str) -> None: ...

        def names(self) -> list[str]:
            return ["banyan-things"]

        def versions(self, name: str) -> list[SimpleNamespace]:
            return [SimpleNamespace(ref=f"{name} v1", data_version=old)]

    monkeypatch.setattr(registry, "Registry", Models)
    monkeypatch.setattr(supervisor, "addresses", lambda _: SimpleNamespace(mlflow="http://127.0.0.1:1"))
    with pytest.raises(UsageError, match="is what banyan-things v1 learned from"):
        banyan("rm", old)
    assert len(json.loads(banyan("log", "--json"))["versions"]) == 2


def test_an_id_that_fits_no_version_or_several_is_a_usage_error(banyan):
    with pytest.raises(UsageError, match="no data version begins with 'xyz'") as caught:
        banyan("show", "xyz")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(("heldout", "is_told"), [(0, True), (12, False)])
def test_a_packed_corpus_without_anything_to_measure_by_says_so(heldout, is_told):
    from components.data.engine.run import Report
    from flows.cli_pack import _lines

    report = Report(Path("packed"), rows_in=3, rows_kept=3, documents={"train": 3, "heldout": 0})
    report.tokens = {"train": 90, "heldout": heldout}
    assert any("nothing is held out" in line for line in _lines(report, "docs", "f" * 32)) is is_told

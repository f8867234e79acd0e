"""The command line against what people mistype: one plain line, the right exit code, no traceback, nothing written."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from components import errors
from components.errors import RecipeError, StackError, UsageError
from components.recipes import FileSource
from flows.own import chosen_recipe, ingest_recipe, own_data
from flows.remote import Run, failure

ROOT = Path(__file__).parents[2]


def banyan(*words: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("BANYAN_")}
    return subprocess.run(
        [sys.executable, "-m", "flows.cli", *words],
        cwd=cwd,
        env={**clean, "PYTHONPATH": str(ROOT), **env},
        capture_output=True,
        text=True,
    )


def reviews(path: Path) -> Path:
    path.write_text("text,label\n" + "".join(f"a fine thing number {n},{'ab'[n % 2]}\n" for n in range(40)), "utf-8")
    return path


MISTAKES = {
    "no such command": (["trian", "library"], 2, "No such command"),
    "no such option": (["status", "--jsn"], 2, "No such option"),
    "a file that is not there": (["ingest", "nothing.csv", "--task", "classification"], 2, "nothing.csv"),
    "a task that is not there": (["ingest", "reviews.csv", "--task", "poetry"], 2, "poetry"),
    "a column that is not there": (
        ["ingest", "reviews.csv", "--task", "classification", "--columns", "text=body"],
        2,
        "body",
    ),
    "a mapping that is none": (["ingest", "reviews.csv", "--task", "classification", "--columns", "text"], 2, "pairs"),
    "a recipe that is not there": (["train", "libary"], 2, "libary"),
    "a field with a typo": (["train", "library", "--set", "lerning_rate=1"], 2, "lerning_rate"),
    "a rating that says nothing": (["rate", "last"], 2, "--good"),
    "no stack": (["ask", "library", "hello"], 1, "banyan up"),
    "no stack to train on": (["train", "library"], 1, "banyan up"),
}


@pytest.mark.parametrize("words,code,said", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_plainly_and_leaves_nothing(words: list[str], code: int, said: str, tmp_path: Path) -> None:
    reviews(tmp_path / "reviews.csv")
    run = banyan(*words, cwd=tmp_path)
    assert (run.returncode, run.stdout) == (code, "")
    assert said in run.stderr and "Traceback" not in run.stderr
    if not run.stderr.startswith("Usage"):
        assert len(run.stderr.splitlines()) == 1 and run.stderr.startswith("banyan: ")
    assert [path.name for path in tmp_path.iterdir()] == ["reviews.csv"]


def test_a_setting_that_does_not_exist_is_named(tmp_path: Path) -> None:
    run = banyan("status", cwd=tmp_path, BANYAN_WORKSPCE="x")
    assert run.returncode == 2 and "BANYAN_WORKSPCE" in run.stderr


def test_status_without_a_stack_makes_no_workspace(tmp_path: Path) -> None:
    run = banyan("status", "--json", cwd=tmp_path)
    facts = json.loads(run.stdout)
    assert run.returncode == 1
    assert (facts["is_running"], facts["data_version"], facts["problems"]) == (False, None, [])
    assert list(tmp_path.iterdir()) == []


def test_the_doctor_says_what_is_there_and_writes_nothing(tmp_path: Path) -> None:
    run = banyan("doctor", "--json", cwd=tmp_path)
    levels = {check["name"]: check["level"] for check in json.loads(run.stdout)["checks"]}
    assert levels["python"] == levels["packages"] == levels["workspace"] == "ok"
    assert list(tmp_path.iterdir()) == []


def test_the_doctor_fails_where_the_workspace_cannot_be_written(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        tmp_path = Path("/proc/self")  # root may write everywhere else
    else:
        tmp_path.chmod(0o500)
    run = banyan("doctor", cwd=ROOT, BANYAN_WORKSPACE=str(tmp_path / "here"))
    assert run.returncode == 1
    assert "Missing: workspace" in run.stdout and "BANYAN_WORKSPACE" in run.stdout


@pytest.mark.parametrize("command", ["demo", "up", "ingest", "train", "evaluate", "promote", "rollback", "ask", "rate"])
def test_every_command_explains_itself(command: str, tmp_path: Path) -> None:
    run = banyan(command, "--help", cwd=tmp_path)
    assert run.returncode == 0 and f"Usage: banyan {command}" in run.stdout


# ---------------------------------------------------------------- from words to recipes


def test_a_file_of_ones_own_becomes_a_recipe_with_an_absolute_path(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "My Reviews.csv").write_text("body,kind\n" + "a good thing,x\nanother bad thing,y\n" * 9, "utf-8")
    monkeypatch.chdir(tmp_path)
    recipe = own_data(
        Path("My Reviews.csv"), task="classification", table=None, columns="text=body, label=kind", licence="CC0-1.0"
    )
    (source,) = recipe.sources
    assert (source.table, source.columns) == ("my-reviews", {"text": "body", "label": "kind"})
    assert source.path == tmp_path / "My Reviews.csv"  # the worker runs elsewhere


def test_a_mapping_says_what_no_flag_does_and_a_flag_counts_before_it(tmp_path: Path) -> None:
    (tmp_path / "r.dat").write_text("body;kind\n" + "a good thing;x\nanother bad thing;y\n" * 9, "utf-8")
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text(
        f"path: {tmp_path}/r.dat\nformat: csv\ntask: classification\nlicence: MIT\ntable: mapped\n"
        "columns: {text: body, label: kind}\n",
        "utf-8",
    )
    recipe = own_data(None, mapping=mapping, licence="CC0-1.0")
    (source,) = recipe.sources
    assert (source.table, source.format, source.licence) == ("mapped", "csv", "CC0-1.0")
    mapping.write_text("columms: {}\ntask: classification\n", "utf-8")
    with pytest.raises(RecipeError, match="columms: unknown field"):
        own_data(tmp_path / "r.dat", mapping=mapping)
    with pytest.raises(UsageError, match="nothing to ingest"):
        own_data(None, task="classification")


def test_a_file_that_a_model_is_to_fill_in_is_looked_at_without_the_model(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("text,label\n" + "a good thing,\nanother bad thing,y\n" * 9, "utf-8")
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text(f"path: {tmp_path}/r.csv\ntask: classification\nmissing: {{label: model=banyan-r}}\n", "utf-8")
    [source] = own_data(None, mapping=mapping).sources
    assert source.missing == {"label": "model=banyan-r"}  # the worker, which has the registry, asks it
    mapping.write_text(f"path: {tmp_path}/r.csv\ntask: classification\nmissing: {{label: mean}}\n", "utf-8")
    with pytest.raises(RecipeError, match=r"missing: label: 'y' is no number"):
        own_data(None, mapping=mapping)


def test_a_file_without_a_usable_name_asks_for_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--table"):
        own_data(reviews(tmp_path / "评论.csv"), task="classification", table=None, columns="", licence="x")


def test_a_change_on_the_command_line_is_checked_as_the_file_is() -> None:
    changed = chosen_recipe("library", table="reviews", changes=["seed=7"])
    assert (changed.table, changed.seed) == ("reviews", 7)
    with pytest.raises(RecipeError, match="batch_size"):
        chosen_recipe("library", table=None, changes=["batch_size=-1"])


def test_a_recipe_that_trains_nothing_cannot_be_trained() -> None:
    with pytest.raises(RecipeError, match="trains nothing"):
        chosen_recipe("demo-data", table=None, changes=[])


def test_an_ingest_recipe_finds_its_files_beside_itself(tmp_path: Path) -> None:
    reviews(tmp_path / "reviews.csv")
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        "kind: ingest\nname: mine\nsources: [{kind: file, path: reviews.csv, table: reviews, task: classification}]\n"
    )
    [source] = ingest_recipe(str(recipe)).sources
    assert isinstance(source, FileSource)
    assert source.path == tmp_path / "reviews.csv"
    assert ingest_recipe("translation-data").name == "translation-data"
    with pytest.raises(RecipeError, match="makes no data"):
        ingest_recipe("library")


# ---------------------------------------------------------------- what the worker's errors become


@pytest.mark.parametrize(
    "message,kind,code",
    [
        ("Flow run encountered an exception: InputFileError: x.csv is empty — give another", errors.InputFileError, 2),
        ("Flow run encountered an exception: ValidationFailed: nulls in text", errors.ValidationFailed, 1),
        ("Flow run encountered an exception: ValueError: boom", StackError, 1),
        ("", StackError, 1),
    ],
)
def test_the_error_of_a_run_keeps_its_class_and_exit_code(message: str, kind: type, code: int) -> None:
    err = failure(Run("id", "clever-owl", "FAILED", message, 1.0), "http://page")
    assert type(err) is kind and err.exit_code == code
    assert ("http://page" in str(err)) == (kind is StackError)

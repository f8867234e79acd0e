"""A registered model measured on a file, in this process, from what a stopped registry left on the disk."""

import json
import os
import time
from datetime import UTC, datetime

import pandas as pd
import pytest
import torch
import transformers
from typer.testing import CliRunner

from components.data.manifests import Manifest
from components.data.tables import columns, content_id, write_split, write_table_info
from components.errors import MappingError, ServiceDown, UsageError, VersionNotFound
from components.evaluation.beside import champion_on
from components.evaluation.candidate import RECIPE_TAG
from components.evaluation.on_file import FileEvaluation, evaluate_on_file, last_result, rows_of, unknown_labels
from components.evaluation.registered import find_model, registry_of
from components.ledger.store import Ledger
from components.models.tokenizer import train_bpe
from components.recipes import FileSource, Finetune, ScreeningPolicy
from components.refs import DataRef, ModelRef
from components.registry import Registry
from components.settings import Settings
from components.tasks import get_task
from components.tasks.base import Answer
from flows import policies
from flows.cli import app
from flows.cli_task import result_lines, tasks
from tests.mlflow_server import MlflowServer
from tests.unit.serving.tiny_models import writer

ADA = "Ada\tB-person\nin\tO\nParis\tB-place\n\n"
NAMES = ("graph", "wave")
DATA = DataRef(version="e" * 32, tables={"topic": "t" * 64})
RECIPE = Finetune(name="topic", task="classification", table="topic", base="none", num_steps=1, learning_rate=1e-3)
SENTENCES = f"{ADA}nobody\tO\n\nbad\tX-y\n\n{ADA}" * 2


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A workspace whose registry, with one version of a tagger, has been stopped."""
    root = tmp_path_factory.mktemp("workspace")
    mlflow = root / "mlflow"
    mlflow.mkdir()
    with MlflowServer(mlflow) as server:
        registry = Registry(server.url)
        topics = [
            registry.register(
                "banyan-topic",
                model_dir=_says(root / f"says-{answer}", answer),
                task="classification",
                lock={"key": f"{answer}" * 64},
                data=_data(root),
                metrics={},
                card="# Topics",
                example="graphs",
                tags={RECIPE_TAG: RECIPE.model_dump_json()},
            )
            for answer in (0, 1)
        ]
        registry.set_alias(topics[0])
        registry.register(
            "banyan-names",
            model_dir=_tagger(root / "model"),
            task="entities",
            lock={"key": "k" * 64},
            data=DataRef(version="d" * 32, tables={"names": "t" * 64}),
            metrics={"example_f1": 0.5},
            card="# Names",
            example="Ada in Paris",
        )
        registry.register(
            "banyan-code",
            model_dir=writer(root / "writer", max_new_tokens=2),
            task="code",
            lock={"key": "c" * 64},
            data=DataRef(version="d" * 32, tables={"code": "t" * 64}),
            metrics={"pass_at_1": 0.0},
            card="# Code",
            example="def f(x):",
        )
    return root


def _data(root):
    """A data version with the rows that the baseline of topics is fitted on."""
    folder = root / "data" / "versions" / DATA.version
    texts = [f"number {i} is about {NAMES[i % 2]}s" for i in range(20)]
    rows = [dict.fromkeys(columns("classification"), "") | {"id": content_id(text), "text": text} for text in texts]
    frame = pd.DataFrame([row | {"label": NAMES[i % 2], "split": "train"} for i, row in enumerate(rows)])
    write_split(folder, "topic", "train", frame, task="classification")
    write_table_info(folder, "topic", task="classification", labels=NAMES, licences={})
    manifest = Manifest(ref=DATA, name="topics", created_at=datetime.now(UTC), pointer="")
    (root / "data" / "manifests").mkdir(exist_ok=True)
    (root / "data" / "manifests" / f"{DATA.version}.json").write_text(manifest.model_dump_json())
    return DATA


def _says(folder, answer):
    """A classifier that has the same answer to everything."""
    tokenizer = train_bpe(["is about graphs and waves"] * 3, 300)
    tokenizer.model_max_length = 32
    config = transformers.BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        id2label=dict(enumerate(NAMES)), label2id={name: i for i, name in enumerate(NAMES)},
    )  # fmt: skip
    model = transformers.BertForSequenceClassification(config)
    with torch.no_grad():
        model.classifier.bias[answer] = 20.0
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _tagger(folder):
    torch.manual_seed(0)
    tokenizer = train_bpe(["Ada in Paris", "nobody"] * 3, 300)
    tokenizer.model_max_length = 32
    names = dict(enumerate(["O", "B-person", "I-person"]))
    config = transformers.BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        initializer_range=0.5, id2label=names, label2id={v: k for k, v in names.items()},
    )  # fmt: skip
    transformers.BertForTokenClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def settings(workspace, monkeypatch):
    monkeypatch.setenv("BANYAN_WORKSPACE", str(workspace))
    return Settings()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "names.conll"
    path.write_text(SENTENCES, "utf-8")
    return path


def test_a_version_is_measured_on_a_file_without_a_stack_and_its_rows_are_kept(settings, file):
    result = evaluate_on_file("banyan-names@1", file, task="entities", settings=settings)
    rows = pd.read_parquet(result.per_example)
    assert result.num_rows == len(rows) == 6
    assert rows["id"].is_unique
    assert result.rejected == {"malformed row": 2}
    assert result.unknown_labels == ("place",)
    assert result.metrics["example_f1"] == rows["score"].mean()
    low, high = result.intervals["entity_f1"]
    assert low <= result.metrics["entity_f1"] <= high
    assert result.baseline is None
    assert last_result("entities", settings=settings) == result


def test_the_champion_and_the_baseline_stand_beside_a_model_on_the_whole_and_in_each_slice(settings, tmp_path):
    file = tmp_path / "talk.csv"
    rows = [(f"case {i}, {'at great length ' * (i % 3)}of {NAMES[i % 4 == 0]}s", NAMES[i % 4 == 0]) for i in range(160)]
    pd.DataFrame(rows, columns=["text", "label"]).to_csv(file, index=False)
    call = ["evaluate", "topic@2", "--task", "classification", "--file", str(file)]
    said = CliRunner().invoke(app, call, catch_exceptions=False).stdout
    result = last_result("classification", settings=settings)
    assert result.metrics["accuracy"] == 0.25
    assert result.baseline["accuracy"] == 1
    assert (result.champion.version, result.champion.metrics["accuracy"]) == (1, 0.75)
    low, high = result.champion.difference_interval
    assert result.champion.difference == -0.5
    assert low < -0.5 < high < 0
    found = {one.name: one for one in result.slices}
    graphs = found["label: graph"]
    assert (graphs.num_rows, graphs.mean, graphs.interval) == (120, 0, (0, 0))
    assert (graphs.champion, graphs.baseline) == (1, 1)
    assert found["label: wave"].mean == 1
    short = found["length: short"]
    assert short.interval[0] < short.mean < short.interval[1]
    assert (short.num_rows, short.champion) == (54, pytest.approx(1 - short.mean))
    lines = {line.split("  ")[1]: line for line in said.splitlines() if line.startswith("  ")}
    assert lines["accuracy"].endswith("champion v1 0.750   baseline 1.000")
    assert "beside champion v1: -0.500" in lines
    assert lines["label: graph"].endswith("0.000  [0.000, 0.000]   champion 1.000   baseline 1.000   120 rows")


def test_a_challenger_stands_beside_the_champion_on_the_feedback_that_was_kept_aside(settings, tmp_path, monkeypatch):
    """What the guide says to do with it: export, then evaluate."""
    policy = ScreeningPolicy(heldout_share=0.5, domain_overlap=0)
    monkeypatch.setattr(policies, "screening", lambda: policy)
    head = settings.workspace.data / "HEAD"
    head.write_text(DATA.version + "\n")
    with Ledger(settings) as ledger:
        for i in range(60):
            text, model = (
                f"case {i} of somebody",
                ModelRef(name="banyan-topic", version=1, run_id="r", weights_sha256="0"),
            )
            ledger.record_answer(
                f"asked {i}", table="topic", model=model, template_sha256="t", generation={}, text=text, output="x",
                subject=f"reader {i}",
            )  # fmt: skip
            right = {"kind": "correct", "correction": NAMES[i % 4 == 0], "subject": f"reader {i}"}
            ledger.record_feedback(f"said {i}", request_id=f"asked {i}", **right)
    file = tmp_path / "kept.parquet"
    run = CliRunner().invoke
    run(app, ["feedback", "export", "topic", "--what", "kept-aside", str(file)], catch_exceptions=False)
    call = ["evaluate", "topic", "--version", "2", "--task", "classification", "--file", str(file)]
    said = run(app, call, catch_exceptions=False).stdout
    head.unlink()
    result, kept = last_result("classification", settings=settings), pd.read_parquet(file)
    assert 10 < result.num_rows == len(kept) < 50
    assert result.metrics["accuracy"] == (kept["label"] == NAMES[1]).mean() < result.champion.metrics["accuracy"]
    assert "beside champion v1: -" in said


def test_of_several_right_summaries_the_best_counts_for_model_and_baseline(tmp_path):
    file = tmp_path / "short.jsonl"
    several = ["Sorts  the nodes.", "Order a graph", ""]
    rows = [{"text": "Order a graph. By degree.", "target": several}, {"text": "Two of it.", "target": "One of it."}]
    file.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    task = get_task("summarisation")
    found, rejected = rows_of(FileSource(path=file, table="file", task=task.name), task)
    assert not rejected
    assert found["target"].tolist() == ["Sorts the nodes.", "One of it."]
    assert found["references"].tolist() == [("Sorts the nodes.", "Order a graph"), ("One of it.",)]
    scored = task.score([Answer("order a graph", 1.0), Answer("one of it", 1.0)], found)
    assert scored["score"].tolist() == [1, 1]
    assert scored["target"].tolist() == found["target"].tolist()
    assert task.score([Answer("order a graph", 1.0)], found.head(1).drop(columns="references"))["score"].tolist() == [0]
    assert task.baseline(found, found, [])["score"].iloc[0] == 1


def test_a_champion_is_not_put_beside_itself(settings):
    registry = registry_of(settings)
    champion, frame = find_model("topic", registry=registry), pd.DataFrame({"id": ["1"], "text": ["graphs"]})
    assert champion.version == 1
    task = get_task("classification")
    assert champion_on(champion, frame, task=task, registry=registry, settings=settings) is None


def test_the_command_says_the_same_and_the_task_list_tells_the_last_result(settings, file):
    call = ["evaluate", "names", "--version", "1", "--task", "entities", "--file", str(file), "--format", "iob2"]
    said = CliRunner().invoke(app, [*call, "--max-rows", "2", "--json"], catch_exceptions=False)
    facts = json.loads(said.stdout)
    assert facts["num_rows"] == 2
    listed = {one["name"]: one for one in tasks(settings)}
    assert listed["entities"]["champion"] is None
    assert listed["entities"]["last_result"]["value"] == facts["metrics"]["example_f1"]
    assert listed["summarisation"]["last_result"] is None


def test_code_is_measured_by_several_drawn_answers_a_row_and_another_task_has_no_such_figure(settings, file, tmp_path):
    written = tmp_path / "code.jsonl"
    row = {"text": "def f(x):", "target": "    return x", "tests": ""}
    written.write_text(f"{json.dumps(row)}\n{json.dumps(row | {'text': 'def g(x):'})}\n")
    call = ["evaluate", "code", "--task", "code", "--file", str(written)]
    once = json.loads(CliRunner().invoke(app, [*call, "--json"], catch_exceptions=False).stdout)
    said = json.loads(CliRunner().invoke(app, [*call, "--samples", "3", "--json"], catch_exceptions=False).stdout)
    assert set(said["intervals"]) - set(once["intervals"]) == {"drawn_pass_at_1", "drawn_pass_at_3"}
    assert said["intervals"]["drawn_pass_at_3"] == [0.0, 0.0], "random weights write no body"
    assert "drawn_pass_at_3" in CliRunner().invoke(app, [*call, "--samples", "3"], catch_exceptions=False).stdout

    with pytest.raises(UsageError, match="entities has no figure of several drawn answers"):
        evaluate_on_file("names", file, task="entities", num_samples=3, settings=settings)


def test_what_cannot_be_measured_is_told(settings, file, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="is a model of task entities, not classification"):
        rows = tmp_path / "rows.csv"
        rows.write_text("text,label\na,b\n")
        evaluate_on_file("names", rows, task="classification", settings=settings)
    with pytest.raises(MappingError, match="has no column"):
        evaluate_on_file("names", file, task="entities", format="csv", settings=settings)
    registry = registry_of(settings)
    with pytest.raises(VersionNotFound, match="its versions are: 1"):
        find_model("names@7", registry=registry)
    with pytest.raises(VersionNotFound, match=r"registered models are: .*banyan-names"):
        find_model("banyan-nobody", registry=registry)
    monkeypatch.setenv("BANYAN_WORKSPACE", str(tmp_path))
    with pytest.raises(ServiceDown, match="banyan up"):
        registry_of(Settings())


def test_a_file_of_one_row_is_measured_and_what_cannot_be_read_is_passed_over(settings, file):
    alone = evaluate_on_file("names", file, task="entities", max_rows=1, settings=settings)
    assert "standard_error" not in alone.metrics
    torn = alone.per_example.parents[1] / "torn" / "result.json"
    torn.parent.mkdir()
    torn.write_text(alone.model_dump_json().replace('"num_rows":1', '"num_rows":null'), "utf-8")
    later = time.time() + 60
    os.utime(torn, (later, later))
    assert last_result("entities", settings=settings) == alone
    assert next(one for one in tasks(settings) if one["name"] == "entities")["last_result"]["num_examples"] == 1


def test_a_figure_that_the_baseline_cannot_give_stands_alone(tmp_path):
    result = FileEvaluation(
        model="banyan-ratings", version=1, weights_sha256="w", task="regression", file="f.csv", file_sha256="f",
        num_rows=9, rejected={}, unknown_labels=(), metrics={"inverse_error": 0.5, "rank_correlation": 0.25},
        intervals={"inverse_error": (0.4, 0.6), "rank_correlation": (0.1, 0.4)}, baseline={"inverse_error": 0.3},
        baseline_intervals={"inverse_error": (0.2, 0.4)}, per_example=tmp_path / "rows.parquet",
    )  # fmt: skip
    lines = result_lines(result)
    assert any("inverse_error" in line and line.endswith("baseline 0.300") for line in lines)
    assert any("rank_correlation" in line and line.endswith("[0.100, 0.400]") for line in lines)


def test_only_labels_that_a_model_is_known_not_to_have_been_taught_are_unknown(workspace):
    tagger = transformers.AutoModelForTokenClassification.from_pretrained(_tagger(workspace / "again"))
    spans = [json.dumps([{"start": 0, "end": 3, "text": "Ada", "type": kind}]) for kind in ("person", "place")]
    assert unknown_labels(get_task("entities"), spans, tagger, None) == ("place",)
    prompt = get_task("classification_prompt")
    assert unknown_labels(prompt, ["oak", "fig"], None, None) == ()
    assert unknown_labels(prompt, ["oak", "fig"], None, ("fig",)) == ("oak",)

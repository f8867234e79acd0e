"""A new task is one file: the guide's own, put beside the others, is ingested, trained, asked, scored and taught."""

import importlib
import re
import sys
from pathlib import Path

import pandas as pd
import pytest
import transformers

import components.tasks
from components.data import tables
from components.data.build import build
from components.evaluation.evaluate import evaluate, evaluate_baseline
from components.evaluation.metrics import interval, summarise
from components.feedback.screening import screen
from components.models.pretrained import load_trained
from components.models.tokenizer import train_bpe
from components.recipes import FileSource, Finetune, Ingest
from components.settings import Settings
from components.tasks import all_tasks, get_task
from components.training.finetuning import finetune

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "new-task.md"
THINGS = ["graph", "wave", "node", "tree", "river", "house", "path", "cloud", "stone", "leaf"]


@pytest.fixture
def task(tmp_path, monkeypatch):
    """The guide's file in a folder of its own, which `components.tasks` looks into as well."""
    [code] = re.findall(r"```python\n(.*?)```", GUIDE.read_text("utf-8"), re.S)
    folder = tmp_path / "tasks"
    folder.mkdir()
    (folder / "is_question.py").write_text(code, "utf-8")
    monkeypatch.setattr(components.tasks, "__path__", [*components.tasks.__path__, str(folder)])
    importlib.invalidate_caches()
    all_tasks.cache_clear()
    yield get_task("is_question")
    sys.modules.pop("components.tasks.is_question", None)
    all_tasks.cache_clear()


@pytest.fixture
def data_dir(task, tmp_path, monkeypatch):
    rows = [(f"Where is the {a} of the {b}?", "question") for a in THINGS for b in THINGS if a != b]
    rows += [(f"There was a {a} near some {b}.", "statement") for a in THINGS for b in THINGS if a != b]
    file = tmp_path / "talk.csv"
    pd.DataFrame(rows, columns=["text", "kind"]).to_csv(file, index=False)
    source = FileSource(path=file, table="talk", task=task.name)
    monkeypatch.setenv("BANYAN_WORKSPACE", str(tmp_path / "workspace"))
    return build(Ingest(name="talk", sources=(source,)), settings=Settings()).staging_dir


@pytest.fixture
def base(tmp_path):
    """A BERT of a few thousand random weights."""
    tokenizer = train_bpe([f"Where is the {thing}? There was one near some." for thing in THINGS], 300)
    config = transformers.BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    folder = tmp_path / "base"
    transformers.BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_the_guides_task_is_ingested_trained_asked_scored_and_taught(task, data_dir, base, tmp_path):
    info = tables.table_info(data_dir, "talk")
    assert info.labels == ("question", "statement")
    assert info.columns[:3] == ("id", "text", "kind")
    recipe = Finetune(
        name="talk", task=task.name, table="talk", base="none", num_steps=2, learning_rate=1e-3, max_length_tokens=16,
        precision="fp32",
    )  # fmt: skip
    trained = finetune(recipe, data_dir=data_dir, weights_dir=base, run_dir=tmp_path / "run")
    assert trained.num_steps == 2
    model, tokenizer = load_trained(tmp_path / "run" / "model", task=task)
    [answer] = task.answer(model, tokenizer, [task.example])
    assert answer.output in info.labels
    rows = evaluate(tmp_path / "run" / "model", task=task.name, data_dir=data_dir, table="talk")
    figures = summarise(rows, task)
    low, high = interval(rows, task, num_resamples=50)["accuracy"]
    assert low <= figures["accuracy"] <= high
    assert evaluate_baseline(recipe, data_dir=data_dir)["score"].mean() == 1
    train = tables.read_split(data_dir, "talk", "train")
    test = tables.read_split(data_dir, "talk", "test")
    assert screen([], task=task, labels=info.labels, train=train, test=test) == ([], [])
    assert task.training_row("Who?", components.tasks.base.Feedback("correct", "statement", "question")) == "question"

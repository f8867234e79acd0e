"""A new task is one file: the guide's own, put beside the others, goes the whole round and passes all tasks' tests."""

import importlib
import inspect
import itertools
import re
import sys
from pathlib import Path

import pandas as pd
import pytest
import streamlit as st
import torch
import transformers
from streamlit import config
from streamlit.testing.v1 import AppTest

import components.tasks
from components.data import tables
from components.data.build import build
from components.evaluation import gate, slices
from components.evaluation.evaluate import evaluate, evaluate_baseline
from components.evaluation.metrics import interval, summarise
from components.feedback.curation import rows_for_training
from components.feedback.screening import screen
from components.ledger.store import Ledger
from components.models.pretrained import load_trained
from components.models.tokenizer import train_bpe
from components.recipes import FileSource, Finetune, GatePolicy, Ingest
from components.refs import ModelRef
from components.serving.engines import TorchEngine
from components.settings import Settings
from components.tasks import all_tasks, get_task
from components.training.finetuning import finetune
from tests.dashboard.installation import gateway
from tests.unit.tasks import test_bad_input, test_every_task

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "guide" / "new-task.md"
QUESTION = "Which river runs past the old house with the tall tree?"
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
    torch.manual_seed(0)
    tokenizer = train_bpe([f"Where is the {thing}? There was one near some." for thing in THINGS], 300)
    config = transformers.BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    folder = tmp_path / "base"
    transformers.BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def recipe(task):
    return Finetune(
        name="talk", task=task.name, table="talk", base="none", num_steps=2, learning_rate=1e-3, max_length_tokens=16,
        precision="fp32",
    )  # fmt: skip


def test_the_guides_task_is_ingested_trained_asked_scored_and_taught(task, data_dir, base, recipe, tmp_path):
    info = tables.table_info(data_dir, "talk")
    assert info.labels == ("question", "statement")
    assert info.columns[:3] == ("id", "text", "kind")
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


def shared():
    """The tests of every task that take one: module and function, and the arguments that they are called with."""
    for module in (test_every_task, test_bad_input):
        for name, function in vars(module).items():
            if name.startswith("test_") and "task" in inspect.signature(function).parameters:
                yield pytest.param(function, id=name)


@pytest.mark.parametrize("function", list(shared()))
def test_the_guides_task_passes_what_every_task_passes(task, function):
    columns = []
    for mark in function.pytestmark:
        names, values = mark.args[0], mark.args[1]
        names = [names] if isinstance(names, str) else list(names)
        if names != ["task"]:
            columns.append([dict(zip(names, value if len(names) > 1 else [value], strict=True)) for value in values])
    takes_models = "models" in inspect.signature(function).parameters
    more = {"task": task} | ({"models": test_bad_input.model_of} if takes_models else {})
    for cases in itertools.product(*columns):
        given = {name: value for case in cases for name, value in case.items()}
        function(**given, **more)


def test_a_shared_test_fails_on_a_task_that_breaks_its_promise(task, monkeypatch):
    """Else the one above would say nothing."""
    monkeypatch.setattr(type(task), "training_row", lambda *_: "always")
    with pytest.raises(AssertionError):
        test_the_guides_task_passes_what_every_task_passes(
            task, test_every_task.test_feedback_teaches_what_it_says_and_nothing_else
        )


def test_the_guides_task_goes_through_gate_gateway_playground_and_feedback(
    task, data_dir, base, recipe, tmp_path, monkeypatch
):
    finetune(recipe, data_dir=data_dir, weights_dir=base, run_dir=tmp_path / "run")
    mine = evaluate(tmp_path / "run" / "model", task=task.name, data_dir=data_dir, table="talk")
    plain = evaluate_baseline(recipe, data_dir=data_dir)
    policy = GatePolicy(num_resamples=1000)
    groups = slices.groups(tables.read_split(data_dir, "talk", "test"), policy)
    verdict = gate.compare(mine, plain, policy, groups=groups)
    assert verdict.difference == pytest.approx(mine["score"].mean() - 1) and verdict.verdict != "promote"

    ref = ModelRef(name="banyan-talk", version=1, run_id="r", weights_sha256="1" * 64)
    st.cache_resource.clear()
    config.set_option("server.address", "127.0.0.1")  # elsewhere it asks who is there
    with gateway(
        Settings(),
        {"talk": (ref, task.name)},
        load=lambda _, ref: TorchEngine(ref, tmp_path / "run" / "model", task=task.name),
    ) as url:
        monkeypatch.setenv("BANYAN_GATEWAY_URL", url)
        page = AppTest.from_file(str(ROOT / "dashboard" / "app.py"), default_timeout=60)
        page.run().switch_page("views/playground.py").run()
        page.text_area[0].set_value(QUESTION)
        next(one for one in page.button if one.label == "Ask").click().run()
        assert not page.exception
        answered = page.session_state["answered"]
        assert answered.output in {"question", "statement"}
        [right] = page.selectbox[0].options
        page.selectbox[0].set_value(right).run()
        next(one for one in page.button if one.label == "Send the correction").click().run()
        assert not page.exception
    with Ledger(Settings()) as ledger:
        found = rows_for_training(ledger, "talk", ledger.cut(), task=task, data_dir=data_dir)
    assert (found.reasons, len(found.rows)) == ({}, 1)
    assert found.rows[["text", "kind"]].to_numpy().tolist() == [[QUESTION, right]]
    st.cache_resource.clear()

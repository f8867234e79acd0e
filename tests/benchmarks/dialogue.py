"""A conversation over passages that are retrieved: is the right one found, is the answer right, is what is cited it?

    make bench NAME=dialogue                               # trains by the recipe first
    MODEL=FOLDER QUESTIONS=60 make bench NAME=dialogue     # a trained model's folder, and fewer questions

Documents are the modules of networkx and mne. Questions are made of the parameter lists of numpydoc in those that no
training row is of, so that the answer and where it stands are known by construction; of a function that gives two, the
second is asked by itself and as a second turn that leaves the function unnamed, behind the right answer to the first.
Each is put through `look_up`, as the gateway does it, and the model answers from what that found; beside it the task's
plain baseline on the same passages. Figures have 95 % bootstrap intervals over the questions.
"""

import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from components.data import versioning
from components.data.tables import read_split, split_names, table_sha256
from components.evaluation.beside import interval_of_mean
from components.models import pretrained
from components.recipes import Finetune, load_recipe, parse_recipe
from components.serving.conversation import Asked, look_up
from components.settings import Settings, load_settings
from components.tasks import get_task
from components.tasks.base import Answer
from components.tasks.dialogue import NOT_SAID, TASK, cited, without_citations
from components.tasks.exchanges import FIRST, NEXT, Question, questions
from components.tasks.question_answering import is_same
from components.training.device import exact
from components.training.finetuning import training_rows
from components.training.seeds import derive
from tests.benchmarks.tasks import OWN, RECIPES, Bench

SEED = 0
PASSAGES = 4
"""As `banyan chat` asks for."""


DOCUMENTS = {
    "kind": "ingest",
    "name": "dialogue-documents",
    "sources": [{"kind": "packages", "assets": ["networkx", "mne"]}],
    "corpus_chars_per_source": 50_000_000,
    "split_rows": {"train": 10, "test": 10},
}


@dataclass(frozen=True)
class Shown:
    """A question, behind the turns before it, with what was found for it."""

    question: Question
    asked: Asked

    @property
    def turns(self) -> tuple[str, ...]:
        return self.asked.turns

    @property
    def holds(self) -> tuple[int, ...]:
        """The numbers of the passages that hold the answer."""
        return tuple(i for i, one in enumerate(self.asked.found, start=1) if self.question.is_in(one.passage))

    @property
    def target(self) -> str:
        """What there is to be said, with these passages."""
        return f"{self.question.answer} [{self.holds[0]}]" if self.holds else NOT_SAID


def measure(shown: Sequence[Shown], said: Sequence[str]) -> dict[str, Any]:
    """[value, low, high] of each figure.

    `right`: of all questions, those whose answer is said, found or not. Where the right passage was found (`found`):
    F1 and exact match of the answer, whether there is one at all, and whether every passage that is named holds it and
    one is named. Where it was not (`not found`): whether it is said that the documents do not say.
    """
    parts: dict[str, list[float]] = {}

    def add(name: str, value: float) -> None:
        parts.setdefault(name, []).append(float(value))

    rows = pd.DataFrame({"id": [str(i) for i in range(len(shown))], "target": [one.target for one in shown]})
    scored = TASK.score([Answer(one, 1.0) for one in said], rows)
    for one, output, score, is_answered in zip(shown, said, scored["score"], scored["is_answered"], strict=True):
        is_right = is_same(without_citations(output), one.question.answer)
        named = cited(output)
        add("f1", score)
        add("right", is_right)
        add("right, follow-ups" if len(one.turns) > 1 else "right, first turns", is_right)
        add("answerability", is_answered == bool(one.holds))
        if one.holds:
            add("found: f1", score)
            add("found: right", is_right)
            add("found: is answered", is_answered)
            add("found: citation_correctness", bool(named) and set(named) <= set(one.holds))
        else:
            add("not found: says so", not is_answered)
        if is_answered and is_right and one.holds:
            add("right: citation_correctness", bool(named) and set(named) <= set(one.holds))
    return {
        name: [round(v, 3) for v in (sum(each) / len(each), *interval_of_mean(each))] + [len(each)]
        for name, each in sorted(parts.items())
    }


def asked_of(text: str, document: str) -> Iterator[tuple[Question, tuple[str, ...]]]:
    """Of each function two questions at most, the second also as a turn that follows the first."""
    for found in questions(text, document):
        some = [one for one in found if one.answer][:2]
        for one in some:
            yield one, (one.asked(FIRST[one.kind]),)
        if len(some) > 1:
            first, second = some
            yield second, (first.asked(FIRST[first.kind]), first.answer, second.asked(NEXT[second.kind]))


def main() -> None:
    case = next(one for one in OWN if one.recipe == "dialogue")
    loaded = load_recipe(RECIPES / "dialogue.yaml")
    assert isinstance(loaded, Finetune)
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings()
        assets = settings.workspace.assets
        settings = settings.model_copy(update={"workspace_dir": Path(folder) / "workspace", "assets_dir": assets})
        bench = Bench(Path(folder))
        try:
            table = bench.built(case)
            learnt = training_rows(loaded, data_dir=table)
            model_dir, made_by = Path(os.environ.get("MODEL", "")), {}
            if not os.environ.get("MODEL"):
                model_dir, made_by = bench.trained(loaded, table)
            ref = versioning.ingest(parse_recipe(DOCUMENTS), settings=settings, progress=print)
            data = versioning.path_of(ref, settings)
            found = of_model(model_dir, data, learnt, settings)
            hashes = {"corpus": table_sha256(data, "corpus")[:16], "dialogue": table_sha256(table, "dialogue")[:16]}
        finally:
            bench.clean()
    print(json.dumps({"dialogue": found, "seed": SEED, "passages": PASSAGES, **made_by, "tables_sha256": hashes}))


def of_model(model_dir: Path, data: Path, learnt: pd.DataFrame, settings: Settings) -> dict[str, Any]:
    asked: list[tuple[Question, tuple[str, ...]]] = []
    for split in split_names(data, "corpus"):
        rows = read_split(data, "corpus", split)
        for text, group in zip(rows["text"], rows["group"], strict=True):
            if group not in set(learnt["group"]):
                asked += asked_of(text, group)
    num_there = len(asked)
    asked = sorted(asked, key=lambda one: derive(SEED, *one[1], one[0].document))
    asked = asked[: int(os.environ.get("QUESTIONS", "150"))]
    shown = [Shown(one, look_up(turns, "", most=PASSAGES, graph="", settings=settings)) for one, turns in asked]
    texts = [one.asked.as_text() for one in shown]
    model, tokenizer = pretrained.load_trained(model_dir, task=get_task("dialogue"))
    started = time.perf_counter()
    with exact():
        said = [one.output for one in TASK.answer(model, tokenizer, texts)]
    seconds = time.perf_counter() - started
    rows = pd.DataFrame({"text": texts, "target": [one.target for one in shown]})
    plain = list(TASK.baseline(learnt, rows.assign(id=[str(i) for i in range(len(rows))]), [])["prediction"])
    if show := os.environ.get("ANSWERS"):
        lines = [
            {"turns": one.turns, "document": one.question.document, "answer": one.question.answer,
             "holds": one.holds, "model": a, "baseline": b, "text": text}
            for one, a, b, text in zip(shown, said, plain, texts, strict=True)
        ]  # fmt: skip
        Path(show).write_text("".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines), "utf-8")
    recall = {f"found among {k}": round(sum(any(n <= k for n in one.holds) for one in shown) / len(shown), 3)
              for k in range(1, PASSAGES + 1)}  # fmt: skip
    about = {"questions": len(asked), "of": num_there, "seconds": round(seconds, 1), **recall}
    print(f"  {json.dumps(about)}", flush=True)
    result = {"model": measure(shown, said), "baseline": measure(shown, plain)}
    for name, figures in result.items():
        print(f"  {name:<9} {json.dumps(figures)}", flush=True)
    return {**about, **result}


if __name__ == "__main__":
    main()
